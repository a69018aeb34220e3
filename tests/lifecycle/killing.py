"""Servers that are killed at any moment, as by a power cut that spares the disk."""

import os
import subprocess


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def environment() -> dict[str, str]:
    """Coverage would only slow down a process that cannot write it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}
