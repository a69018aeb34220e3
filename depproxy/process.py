"""This process: how many files it may open, and how its threads share the interpreter."""

import contextlib
import gc
import resource
import sys

_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes gives way; Python's own 5 ms are felt in each of the
dozen waits of a request."""

_GARBAGE_THRESHOLDS = (20_000, 50, 50)
"""Objects and rounds before Python looks for circles among them. Looking through all that is known
of 100,000 blobs stops every thread for a tenth of a second, and what is known has no circles."""


def raise_descriptor_limit() -> None:
    """As many files and connections as this process may have: the usual 1024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def share_the_interpreter() -> None:
    """Let the event loop have its turn soon while other threads count, parse and sort."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
