"""A machine of the tests' own: systemd as process 1, on a copy of this one's files that is thrown
away. It shares the kernel and the network with this one."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.local_image import write_context
from tests.real.programs import run, running, wait_until

_BOOT = """
set -eu
echo $BASHPID > "$CGROUP/cgroup.procs"
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child bash -c '
set -eu
mount -t tmpfs tmpfs disk
mkdir disk/upper disk/work disk/root
mount -t overlay -o lowerdir=/,upperdir=disk/upper,workdir=disk/work overlay disk/root
cp -a checkout disk/root/checkout
cd disk/root
# Of what is installed here, nothing is to start.
rm -rf etc/fstab etc/systemd/system usr/lib/systemd/system/*.wants
mkdir -p etc/systemd/system old
echo 0123456789abcdef0123456789abcdef > etc/machine-id
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run tmp; do mount -t tmpfs -o mode=755 tmpfs $folder; done
chmod 1777 tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=basic.target
'
"""
"""In a control group of its own, and with the mounts that systemd expects of who starts it in a
container: https://systemd.io/CONTAINER_INTERFACE. What this machine has is only read."""


class Machine:
    """Runs while the block of `booted` does; the project's files are in ``/checkout``, with wheels
    for its Python."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        write_context(self.checkout)
        self._folder = folder
        self._log = folder / "boot.log"
        self._init = 0

    @contextmanager
    def booted(self) -> Iterator[None]:
        (self._folder / "disk").mkdir()
        with _control_group() as group:
            command = ["bash", "-c", _BOOT]
            environ = {**os.environ, "CGROUP": str(group)}
            with running(command, self._log, cwd=self._folder, env=environ) as process:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
                try:
                    wait_until(lambda: bool(children.read_text()), process, self._log)
                    self._init = int(children.read_text())
                    wait_until(self._is_up, process, self._log)
                    self.run("systemctl start systemd-journald.service")
                    yield
                finally:
                    if self._init:
                        os.kill(self._init, signal.SIGKILL)  # and all that it has started

    def _is_up(self) -> bool:
        state = self.run("systemctl is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(self, script: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """What root types there, in the checkout."""
        enter = ["nsenter", f"--target={self._init}", "--mount", "--pid", "--uts", "--ipc"]
        environ = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "PIP_NO_INDEX=1")
        wheels = "PIP_FIND_LINKS=/checkout/wheels"
        shell = ("bash", "-ec", f"cd /checkout\n{script}")
        return run(*enter, "env", "-i", *environ, wheels, *shell, check=check)

    def process(self, inside: str) -> Path:
        """The folder in ``/proc`` here of a process there."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                numbers = (folder / "status").read_text().partition("NSpid:")[2].split("\n")[0]
                namespace = os.readlink(folder / "ns" / "pid")
            except OSError:
                continue  # it has just ended
            is_there = namespace == os.readlink(f"/proc/{self._init}/ns/pid")
            if is_there and numbers.split()[-1] == inside:
                return folder
        pytest.fail(f"there is no process {inside}")


@contextmanager
def _control_group() -> Iterator[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    top = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if top is None:
        pytest.skip("no control groups of version 2 are mounted")
    group = top / f"depproxy-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
