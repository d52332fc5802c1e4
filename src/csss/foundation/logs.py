"""Structured logs without patient data: one JSON object a line, and only fields that are named here."""

import json
import logging
import sys
from datetime import UTC, datetime

# A log line may carry these and nothing else; a name or a free text never gets in by accident.
ALLOWED_FIELDS = frozenset(
    {
        "request_id", "method", "route", "status", "milliseconds", "case_id", "job_id", "job_kind", "attempt",
        "user_id", "model", "version", "error", "code", "count", "path", "delivery_id", "report_id", "executor",
    }
)  # fmt: skip


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name in ALLOWED_FIELDS})
        if record.exc_info and record.exc_info[0] is not None:
            # The type and the place, not the message: messages of foreign parsers quote their input.
            line["exception"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                line["raised_at"] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return json.dumps(line, default=str)


def set_up_logs(level: str = "INFO") -> None:
    """Send every log line as JSON to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in (
        "uvicorn.access",
        "httpx",
        "dbos",
        "alembic",
        "fontTools",
        "pyhanko",
        "pyhanko_certvalidator",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log(name: str) -> logging.Logger:
    """Return the logger of one room."""
    return logging.getLogger(f"csss.{name}")
