"""``/v2/<group>/dependency_proxy/containers/<image>/manifests/<reference>``"""

from depproxy.handlers.conditional import is_known
from depproxy.handlers.registry import ImageHandler
from depproxy.oci.digest import Digest, parse_reference


class ManifestHandler(ImageHandler):
    """A manifest, byte for byte as the upstream has it. Ranges are ignored."""

    async def get(self) -> None:
        await self._answer(with_body=True)

    async def head(self) -> None:
        await self._answer(with_body=False)

    async def _answer(self, with_body: bool) -> None:
        reference = parse_reference(self.target.reference)
        source = await self.source()
        manifests = self.proxy.manifests
        if isinstance(reference, Digest):
            manifest = await manifests.by_digest(source, reference, with_body)
        else:
            manifest = await manifests.by_tag(source, reference, with_body)
        descriptor = manifest.descriptor
        self.describe(descriptor.digest, descriptor.media_type, descriptor.size, manifest.status)
        self.warn(manifest.warning)
        if is_known(self.request.headers.get("If-None-Match"), descriptor.digest):
            self.set_status(304)
        elif with_body and manifest.body is not None:
            self.write(manifest.body)
            self.sent = len(manifest.body)
        self.finish()
