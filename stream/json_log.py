"""The log of a role: one JSON object per line on the standard error stream."""

import json
import logging
import sys
import time
from typing import Any

import orjson

_LOG_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; fields given as ``extra`` are keys next to the message."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _LOG_RECORD_FIELDS}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # A lone surrogate, or an integer beyond 64 bits.
            return json.dumps(line, default=str)


def _says_more_than_a_service(record: logging.LogRecord) -> bool:
    """Leave out what each service says of its start and its stop."""
    return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def log_as_json(role: str, level: int = logging.INFO) -> None:
    """Log to the standard error stream, a JSON object a line; of foreign libraries warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role))
    handler.addFilter(_says_more_than_a_service)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for ours in ("archive", "bowerbird", "policies", "records", "rewards", "stream"):
        logging.getLogger(ours).setLevel(level)
    # aiokafka reports each attempt at a broker that is away as an error; the roles say so themselves.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
