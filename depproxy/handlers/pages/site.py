"""What all pages are made of: templates, assets, who comes, and what there is to show."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tornado.template import Loader

from depproxy import __version__, readable
from depproxy.access.gate import Gate
from depproxy.access.reception import Reception
from depproxy.cache.proxy import DependencyProxy
from depproxy.handlers.pages import places
from depproxy.handlers.pages.assets import Assets
from depproxy.readable import Moment

_PACKAGE = Path(__file__).parents[2]


class Site:
    """One for all requests. ``clock`` is the time of day, in seconds."""

    def __init__(
        self,
        *,
        proxy: DependencyProxy,
        gate: Gate,
        reception: Reception,
        external_url: str,
        clock: Callable[[], float],
    ) -> None:
        self.proxy = proxy
        self.gate = gate
        self.reception = reception
        self.external_url = external_url
        self.clock = clock
        self.assets = Assets(_PACKAGE / "static")
        self._loader = Loader(
            str(_PACKAGE / "templates"),
            namespace={
                "asset": self.assets.url,
                "moment": self._moment,
                "places": places,
                "readable": readable,
                "version": __version__,
            },
        )

    @property
    def is_secure(self) -> bool:
        """Whether clients come by TLS, as the configuration says."""
        return urlsplit(self.external_url).scheme == "https"

    def rendered(self, template: str, **values: object) -> bytes:
        """A template with these values; all of them are escaped where they are put in."""
        return self._loader.load(template).generate(**values)

    def _moment(self, seconds: float) -> Moment:
        return readable.moment(seconds, self.clock())
