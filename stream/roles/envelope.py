"""Where the reply to a request goes, and how long somebody waits for it: what its headers say."""

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

from records.errors import BadInput
from records.limits import LONGEST_EXPIRES_MS, TOPIC_NAME_CHARACTERS
from stream.config import OWN_TOPICS, Config
from stream.kafka.headers import (
    CORRELATION_BYTES,
    CORRELATION_HEADERS,
    EXPIRES_HEADER,
    REPLY_TOPIC_HEADERS,
    Headers,
    first_of_each,
)

_TOPIC_NAME = re.compile(rf"[a-zA-Z0-9._-]{{1,{TOPIC_NAME_CHARACTERS}}}")


class Envelope(NamedTuple):
    """What the headers of one request say.

    Attributes
    ----------
    reply_topic
        None: no reply is wanted, or the one asked for is not allowed.
    reply_headers
        What the reply carries.
    ttl_ms
        The request gets no decision when it is older than this.
    problem
        What is wrong with the headers; then nothing of the message is decided.
    """

    reply_topic: str | None
    reply_headers: tuple[tuple[str, bytes], ...]
    ttl_ms: int
    problem: BadInput | None


class Envelopes:
    """Reads headers as the configuration says.

    Parameters
    ----------
    config
        Its ``reply_topics`` are patterns that are put after the prefix; the loop's own topics, its streams and
        Kafka's internal topics are never allowed, so that no caller can write into them.
    """

    def __init__(self, config: Config) -> None:
        self._prefix = config.prefix
        self._patterns = config.reply_topics
        self._own = {config.topic(name) for name in (*OWN_TOPICS, *config.streams)}
        self._ttl_ms = config.request_ttl_ms
        self._allowed: dict[bytes, str] = {}

    def open(self, headers: Headers) -> Envelope:
        """Return what the headers say; an error in them is the envelope's ``problem``."""
        reply_topic: str | None = None
        ttl_ms = self._ttl_ms
        problem: BadInput | None = None
        first = first_of_each(headers)
        correlation = tuple(
            (name, content)
            for name in CORRELATION_HEADERS
            if (content := first.get(name)) is not None and len(content) <= CORRELATION_BYTES
        )
        try:
            asked = next((first[name] for name in REPLY_TOPIC_HEADERS if name in first), None)
            if asked is not None:
                reply_topic = self._reply_topic(asked)
            if EXPIRES_HEADER in first:
                ttl_ms = expires_ms(first[EXPIRES_HEADER])
        except BadInput as error:
            problem = error
        return Envelope(reply_topic, correlation, ttl_ms, problem)

    def _reply_topic(self, asked: bytes) -> str:
        known = self._allowed.get(asked)
        if known is None:
            known = self._checked(asked.decode("utf-8", "backslashreplace"))
            if len(self._allowed) >= 10_000:
                self._allowed.clear()
            self._allowed[asked] = known
        return known

    def _checked(self, topic: str) -> str:
        rest = topic.removeprefix(self._prefix)
        if (
            _TOPIC_NAME.fullmatch(topic) is None
            or not topic.startswith(self._prefix)
            or topic in self._own
            or topic.startswith("__")
            or not any(fnmatchcase(rest, pattern) for pattern in self._patterns)
        ):
            allowed = ", ".join(f"{self._prefix}{pattern}" for pattern in self._patterns) or "none"
            raise BadInput("reply_topic_not_allowed", "reply-topic", repr(topic), f"one of {allowed}")
        return topic


def expires_ms(content: bytes | None) -> int:
    """Return the duration in the header ``expires-ms``.

    Raises
    ------
    BadInput
        It is no whole number from 0 to 60000 in decimal digits.
    """
    if content and content.isdigit() and len(content) <= 9 and int(content) <= LONGEST_EXPIRES_MS:
        return int(content)
    raise BadInput(
        "bad_expires_ms",
        EXPIRES_HEADER,
        repr(content[:40]) if content is not None else "null",
        f"a whole number of milliseconds from 0 to {LONGEST_EXPIRES_MS}",
    )
