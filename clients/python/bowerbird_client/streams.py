"""Which topics are streams, and the error about one that is not there."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from bowerbird_client.contract import OWN_TOPICS, REPLIES
from bowerbird_client.errors import MOST_NAMED, BadInput

LONGEST_NAME = 249
"""The longest name of a topic that Kafka takes."""


def streams_among(topics: Iterable[str], prefix: str) -> frozenset[str]:
    """Return the names of the streams among the topics of a broker.

    >>> sorted(streams_among(["my-clicks", "my-decisions", "my-replies.shop", "clicks"], "my-"))
    ['clicks']
    """
    own = (topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix))
    return frozenset(name for name in own if name not in OWN_TOPICS and not name.startswith(REPLIES))


def check_stream(stream: str, streams: Collection[str]) -> None:
    """Refuse a stream that is not there; the error names those that are, the likely ones first.

    >>> check_stream("clics", ["views", "clicks"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    bowerbird_client.errors.BadInput: stream: found 'clics', expected a stream of the service: clicks, views ...
    """
    if stream in streams:
        return
    near = get_close_matches(stream[:LONGEST_NAME], streams, n=3)
    shown = [*near, *(name for name in sorted(streams) if name not in near)]
    more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
    named = ", ".join(shown[:MOST_NAMED]) + more or "none is there"
    raise BadInput("unknown_stream", "stream", repr(stream), f"a stream of the service: {named}")
