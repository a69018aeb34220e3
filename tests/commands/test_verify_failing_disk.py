"""`depproxy verify` on a disk that fails: what it cannot say is not called right."""

import errno
import os
from typing import Any

import pytest

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from tests.commands.command_line import CommandLine, blob_name, layer_of, pull
from tests.running import RunningServer


def fail_for(digest: Digest, monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    """The disk answers a call about this blob with an error."""
    real = getattr(os, call)

    def fail_or_do(what: Any, *arguments: Any, **more: Any) -> Any:
        path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
        if path.endswith(digest.hex):
            raise OSError(code, os.strerror(code))
        return real(what, *arguments, **more)

    monkeypatch.setattr(os, call, fail_or_do)


def test_a_blob_that_cannot_be_read_is_not_called_right(
    server: RunningServer, hello: Image, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(server, hello)
    server.stop()
    with monkeypatch.context() as patch:
        fail_for(layer_of(hello), patch, "pread", errno.EIO)
        done = command("verify", "--json")
    assert (done.code, done.json["removed"]) == (1, [])
    assert "1 blobs are wrong, or not known to be right" in done.err
    assert layer_of(hello).hex in done.err


def test_a_wrong_blob_that_cannot_be_removed_is_not_called_right(
    server: RunningServer, hello: Image, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that failed, and is read-only since."""
    pull(server, hello)
    server.stop()
    (server.tree / blob_name(layer_of(hello))).write_bytes(b"other bytes")
    with monkeypatch.context() as patch:
        for call in ("unlink", "utime"):
            fail_for(layer_of(hello), patch, call, errno.EROFS)
        done = command("verify")
    assert done.code == 1
    assert "removed" not in done.out
    assert "is wrong, and cannot be removed" in done.err


def test_what_is_right_is_right_on_a_disk_that_takes_no_times(
    server: RunningServer, hello: Image, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(server, hello)
    server.stop()
    with monkeypatch.context() as patch:
        fail_for(layer_of(hello), patch, "utime", errno.EROFS)
        assert command("verify").code == 0
