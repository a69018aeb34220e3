"""``/v2/<group>/dependency_proxy/containers/<image>/manifests/<reference>``"""

from depproxy.cache.manifests import Manifest
from depproxy.handlers.conditional import is_known
from depproxy.handlers.registry import ImageHandler
from depproxy.oci.digest import Digest


class ManifestHandler(ImageHandler):
    """A manifest, byte for byte as the upstream has it. Ranges are ignored."""

    kind = "manifest"

    def answer_at_once(self) -> bool:
        if ":" not in self.target.reference:
            return False  # a tag, of which the upstream is asked, or nothing: see `answer`
        source = self.open_source()
        manifest = source and self.proxy.manifests.at_hand(source, self.target.digest)
        if not manifest:
            return False
        self._send_manifest(manifest)
        return True

    async def answer(self) -> None:
        source = await self.source()
        reference = self.target.manifest
        manifests = self.proxy.manifests
        with_body = not self.is_head
        if isinstance(reference, Digest):
            manifest = await manifests.by_digest(source, reference, with_body)
        else:
            manifest = await manifests.by_tag(source, reference, with_body)
        self._send_manifest(manifest)

    def _send_manifest(self, manifest: Manifest) -> None:
        descriptor = manifest.descriptor
        self.describe(descriptor.digest, descriptor.media_type, descriptor.size, manifest.status)
        self.warn(manifest.warning)
        if is_known(self.request.headers.get("If-None-Match"), descriptor.digest):
            self.send_not_modified()
        else:
            self.send(manifest.body or b"")
