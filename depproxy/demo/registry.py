"""A registry that holds one image and speaks just enough of the protocol to be pulled from."""

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from depproxy.demo.image import Image, make_image

DEMO_IMAGE = "library/hello"
DEMO_TAG = "latest"
DEMO_SENTENCE = "Hello! This image came through the dependency proxy."


class _Handler(RequestHandler):
    def initialize(self, image: Image) -> None:
        self._image = image

    def compute_etag(self) -> None:
        """The proxy asks for digests, not for these."""

    def _send(self, media_type: str, digest: str, body: bytes) -> None:
        self.set_header("Content-Type", media_type)
        self.set_header("Docker-Content-Digest", digest)
        self.finish(body)


class _Manifests(_Handler):
    def get(self, reference: str) -> None:
        wanted = self._image.index if reference == DEMO_TAG else reference
        for digest, (media_type, body) in self._image.manifests.items():
            if digest == wanted:
                self._send(media_type, digest, body)
                return
        raise HTTPError(404)

    head = get


class _Blobs(_Handler):
    def get(self, reference: str) -> None:
        for digest, body in self._image.blobs.items():
            if digest == reference:
                self._send("application/octet-stream", digest, body)
                return
        raise HTTPError(404)

    head = get


def serve_demo_registry() -> str:
    """Serve on a free port of 127.0.0.1, on the running event loop; returns the URL."""
    image = make_image(DEMO_SENTENCE)
    application = Application(
        [
            (rf"/v2/{DEMO_IMAGE}/manifests/([^/]+)", _Manifests, {"image": image}),
            (rf"/v2/{DEMO_IMAGE}/blobs/([^/]+)", _Blobs, {"image": image}),
        ],
        log_function=lambda _: None,
    )
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(application).add_sockets(sockets)
    return f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
