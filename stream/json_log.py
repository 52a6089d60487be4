"""The log of a role: one JSON object per line on the standard error stream."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

FIELDS = {"levelname": "level", "name": "logger", "exc_info": "exception"}
"""What a record's attributes are called in a line; those given as ``extra`` are keys next to them."""


def formatter(role: str) -> logging.Formatter:
    """Return what writes a log record of a role as one line of JSON."""
    shown = ["levelname", "name", "message"]
    return JsonFormatter(shown, rename_fields=FIELDS, static_fields={"role": role}, timestamp="time")


def _says_more_than_a_service(record: logging.LogRecord) -> bool:
    """Leave out what each service says of its start and its stop."""
    return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def log_as_json(role: str, level: int = logging.INFO) -> None:
    """Log to the standard error stream, a JSON object a line; of foreign libraries warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(role))
    handler.addFilter(_says_more_than_a_service)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for ours in ("archive", "bowerbird", "policies", "records", "rewards", "stream"):
        logging.getLogger(ours).setLevel(level)
    # aiokafka reports each attempt at a broker that is away as an error; the roles say so themselves.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
