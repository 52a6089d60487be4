"""The headers of requests and replies.

``reply-topic``, ``correlation-id`` and ``expires-ms``; Spring's ``kafka_replyTopic`` and ``kafka_correlationId`` are
understood too, and the reply carries its correlation id under the name it came with.
"""

from collections.abc import Sequence

REPLY_TOPIC_HEADERS = ("reply-topic", "kafka_replyTopic")
CORRELATION_HEADERS = ("correlation-id", "kafka_correlationId")
EXPIRES_HEADER = "expires-ms"
CORRELATION_BYTES = 1024

Headers = Sequence[tuple[str, bytes | None]]


def first_of_each(headers: Headers) -> dict[str, bytes]:
    """Return the first content of each header that has one: what counts where a header stands twice."""
    firsts: dict[str, bytes] = {}
    for name, content in headers:
        if content is not None:
            firsts.setdefault(name, content)
    return firsts
