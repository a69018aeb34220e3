"""What the program logs: text for people, JSON for machines."""

import json
import logging
import sys
import time
from typing import Any


def set_up_logging(form: str, level: str) -> None:
    """Send everything to standard error, as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("tornado.curl_httpclient").setLevel(logging.INFO)  # it would log headers


class _Text(logging.Formatter):
    """Times in UTC (RFC 3339), as in the access log's lines, which come between."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """One line a record, whatever a client put into a path."""
        trace = record.exc_info
        record.exc_info = None
        line = super().format(record).replace("\r", "\\r").replace("\n", "\\n")
        record.exc_info = trace
        return f"{line}\n{self.formatException(trace)}" if trace else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One JSON object a record, times in UTC (RFC 3339)."""
        document: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)
