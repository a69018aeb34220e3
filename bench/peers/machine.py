"""What everything ran on: numbers mean little without it."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

import pycurl
import tornado

from depproxy import __version__


def described(folder: Path) -> dict[str, str]:
    """The machine and the versions; ``folder`` is where the servers keep their files."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _first(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "file system": _said("stat", "-f", "-c", "%T", str(folder)),
        "kernel": platform.release(),
        "depproxy": __version__,
        "python": platform.python_version(),
        "tornado": tornado.version,
        "libcurl": pycurl.version_info()[1],
        "docker-registry": _first(r"(\d[\w.+]*)$", _said("docker-registry", "--version")),
        "nginx": _first(r"nginx/(\S+)", _said("nginx", "-v")),
        "wrk": _first(r"wrk (?:debian/)?(\S+)", _said("wrk", "-v")),
        "ab": _first(r"Version (\S+)", _said("ab", "-V")),
        "curl": _first(r"curl (\S+)", _said("curl", "--version")),
        "load at the start": _load(),
    }


def _load() -> str:
    """Runnable processes in the last minute, on average: what else the machine does."""
    return f"{os.getloadavg()[0]:.1f}"


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)  # some end by 1 at their version
    return (done.stdout + done.stderr).strip()


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "unknown"
