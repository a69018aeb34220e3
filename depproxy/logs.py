"""Log lines: text for people, JSON for machines; one access line per request."""

import json
import logging
import sys
import time
from typing import Any

from tornado.web import RequestHandler

_access = logging.getLogger("depproxy.access")


def set_up_logging(form: str, level: str) -> None:
    """Send everything to standard error, as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("tornado.curl_httpclient").setLevel(logging.INFO)  # it would log headers


def log_access(handler: RequestHandler) -> None:
    """Tornado's ``log_function``."""
    if not _access.isEnabledFor(logging.INFO):
        return
    request = handler.request
    cut = getattr(handler, "was_cut", False)
    fields: dict[str, Any] = {
        "client": request.remote_ip,
        "method": request.method,
        "path": request.path,
        "status": handler.get_status(),
        "cut": cut,
        "duration": round(request.request_time(), 6),
        "cache": handler._headers.get("Cache-Status", ""),
    }
    _access.info(
        "%s %s %s %d%s %.1fms %s",
        fields["client"],
        fields["method"],
        fields["path"],
        fields["status"],
        " cut" if cut else "",
        fields["duration"] * 1000,
        fields["cache"] or "-",
        extra={"fields": fields},
    )


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

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
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)
