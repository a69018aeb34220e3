"""TLS towards clients: certificate and key, and what is wrong with them."""

import logging
import re
import ssl
import time
from pathlib import Path

from depproxy.config import Config, TlsConfig
from depproxy.errors import DepproxyError

_log = logging.getLogger(__name__)

PROTOCOLS = ("http/1.1",)
"""What is offered by ALPN (RFC 7301): clients that would rather speak HTTP/2 take it."""

EXPIRES_SOON = 14 * 86400
"""Seconds before a certificate's end from which on a start or a reload warns: Let's Encrypt's are
renewed 30 days before, so this one was forgotten."""

_EXPIRED = 10
_NOT_YET_VALID = 9
"""X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL."""

_MISMATCH = re.compile("KEY_VALUES_MISMATCH|KEY_TYPE_MISMATCH")


class CertificateUnusable(DepproxyError):
    """Certificate and key cannot be used; the text is a problem of the configuration."""


def problems(config: Config) -> list[str]:
    """What stops the start, in the form of `depproxy.config`'s own problems."""
    if not config.tls.certificate or not config.tls.key:
        return []
    found = [
        f"tls.{key}: expected a PEM file that can be read, found {str(file)!r}: {reason}"
        for key, file in (("certificate", config.tls.certificate), ("key", config.tls.key))
        if (reason := _why_unreadable(file))
    ]
    if not found:
        try:
            make_context(config.tls)
        except CertificateUnusable as exc:
            found.append(str(exc))
    return found


def warnings(config: Config) -> list[str]:
    """What is allowed and seldom meant."""
    context = make_context(config.tls)
    if context is None:
        return []
    found = []
    if config.external_url.startswith("http:"):
        found.append(
            f"external_url: {config.external_url} leads clients to a port without TLS, for"
            " pages and tokens, and this server has TLS: begin it with https"
        )
    return [*found, *_about_dates(context, config.tls)]


def _about_dates(context: ssl.SSLContext, tls: TlsConfig) -> list[str]:
    name = f"tls.certificate: {tls.certificate}"
    end, code = _validity(context, tls)
    if code == _EXPIRED:
        return [f"{name} has expired: clients will refuse it; renew it, and reload"]
    if code == _NOT_YET_VALID:
        return [f"{name} is not valid yet: clients will refuse it; is the clock right?"]
    left = end - time.time() if end is not None else EXPIRES_SOON
    if left < EXPIRES_SOON:
        return [f"{name} expires in {left / 86400:.1f} days: renew it, and reload"]
    return []


def make_context(tls: TlsConfig) -> ssl.SSLContext | None:
    """What new connections are encrypted with; None without TLS.

    Raises `CertificateUnusable`.
    """
    if not tls.certificate or not tls.key:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _ServerSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: the older ones must not be used
    context.set_alpn_protocols(PROTOCOLS)
    try:
        # An encrypted key would make OpenSSL ask on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: b"")
    except (OSError, ValueError) as exc:
        raise CertificateUnusable(_blamed(tls, exc)) from exc
    return context


class _ServerSocket(ssl.SSLSocket):
    """A connection whose handshake may fail by its client's fault: that is a line at level info.
    Tornado would warn of it, and a port scan would fill the log with warnings."""

    _client = ""
    """Asked at once: of one who has left, nobody can tell who it was."""

    def do_handshake(self, block: bool = False) -> None:
        """See `ssl.SSLSocket.do_handshake`. To Tornado, a handshake that has failed is one whose
        client has left."""
        self._client = self._client or self._who()
        try:
            super().do_handshake(block)
        except ssl.SSLError as exc:
            if exc.args[0] in (ssl.SSL_ERROR_SSL, ssl.SSL_ERROR_SYSCALL):
                _log.info("%s: no TLS handshake: %s", self._client, exc.reason or exc)
                exc.args = (ssl.SSL_ERROR_EOF, *exc.args[1:])
            raise

    def _who(self) -> str:
        try:
            return str(self.getpeername()[0])
        except OSError:
            return "-"


def _why_unreadable(file: Path) -> str | None:
    try:
        file.read_bytes()
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def _blamed(tls: TlsConfig, error: Exception) -> str:
    """Which of the two files is to blame."""
    if _MISMATCH.search(str(getattr(error, "reason", ""))):
        return f"tls.key: expected the key of {tls.certificate}, found another one in {tls.key}"
    if not _has_certificates(tls):
        return f"tls.certificate: expected certificates in PEM, found none in {tls.certificate}"
    return (
        "tls.key: expected a private key in PEM, without a password and with a size that is safe,"
        f" found none in {tls.key} ({error})"
    )


def _has_certificates(tls: TlsConfig) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(tls.certificate)
    except (OSError, ValueError):
        return False
    return True


def _validity(server: ssl.SSLContext, tls: TlsConfig) -> tuple[float | None, int]:
    """When the certificate ends, in seconds since the epoch, and OpenSSL's verdict on it; 0: it is
    good now.

    A client that trusts nothing but this certificate is the one who asks, in memory: the standard
    library shows the dates of a certificate only to those who have verified it.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(tls.certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there)
    answering = server.wrap_bio(there, back, server_side=True)
    for side in (asking, answering, asking):
        try:
            side.do_handshake()
        except ssl.SSLCertVerificationError as exc:
            return None, exc.verify_code
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return None, 0  # clients will tell
    certificate = asking.getpeercert() or {}
    end = certificate.get("notAfter")
    return (ssl.cert_time_to_seconds(end) if isinstance(end, str) else None), 0
