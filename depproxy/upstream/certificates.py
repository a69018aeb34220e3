"""Which certificate authorities an upstream's certificate may come from."""

import ssl
from pathlib import Path

import pycurl


class Certificates:
    """The system's authorities, and those of a file besides, read again when it changes."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._system = ssl.get_default_verify_paths().cafile
        self._bundle = b""
        self._stamp = 0

    def apply(self, curl: pycurl.Curl) -> None:
        """Set them on a handle. A file that cannot be read, or is no file of certificates, leaves
        those that were read last: it may be half written."""
        if self._ca_file is None:
            if self._system:
                curl.setopt(pycurl.CAINFO, self._system)
            return
        self._refresh(self._ca_file)
        curl.setopt(pycurl.CAINFO_BLOB, self._bundle)

    def _refresh(self, ca_file: Path) -> None:
        try:
            stamp = ca_file.stat().st_mtime_ns
            if stamp != self._stamp:
                own = ca_file.read_bytes()
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(cadata=own.decode("ascii", "ignore"))
                system = Path(self._system).read_bytes() if self._system else b""
                self._bundle, self._stamp = system + b"\n" + own, stamp
        except OSError:
            return
