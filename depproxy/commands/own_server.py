"""Where the server on this machine is, by its configuration: for commands that are its clients."""

from dataclasses import replace

from depproxy.commands.command import CommandFailed
from depproxy.config import Address, Config

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
"""Where to knock at a server that listens on every address."""


def own_address(config: Config) -> Address:
    """The first address of ``listen``, as it is reached from this machine. Raises `CommandFailed`
    where nobody can know it."""
    return _from_here(config.listen[0])


def own_url(config: Config) -> str:
    """A URL for all that clients may ask: by the public name where that needs TLS, whose
    certificate is for that name, and where only unix sockets are listened on."""
    address = next((address for address in config.listen if not address.unix), None)
    if config.tls.certificate or address is None:
        return config.external_url
    return f"http://{_from_here(address)}"


def _from_here(address: Address) -> Address:
    if not address.unix and not address.port:
        raise CommandFailed(f"the system chooses the port of listen, {address}: name it by --url")
    return replace(address, host=_LOOPBACK.get(address.host, address.host))
