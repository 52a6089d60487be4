"""Which topics are streams, and the error about one that is not there."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from difflib import get_close_matches

from bowerbird_client.contract import OWN_TOPICS, REPLIES
from bowerbird_client.errors import MOST_NAMED, BadInput, BrokerAway

LONGEST_NAME = 249
"""The longest name of a topic that Kafka takes."""
AWAY_S = 5.0
"""A broker that did not answer is not asked again for so long."""


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


class Streams:
    """Remembers which streams there are, so that the broker is asked once for all who want to know.

    Parameters
    ----------
    ask
        Asks the broker.
    """

    def __init__(self, ask: Callable[[], Awaitable[Collection[str]]]) -> None:
        self._ask = ask
        self._known: Collection[str] = ()
        self._stale = True
        self._away_until_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def check(self, stream: str) -> None:
        """Refuse a stream that is not there. Where the broker is away, nobody knows, and it passes."""
        if stream not in self._known and asyncio.get_running_loop().time() >= self._away_until_s:
            try:
                await self._look()
            except BrokerAway:
                return
            check_stream(stream, self._known)

    async def check_now(self, stream: str) -> None:
        """Refuse a stream that is not there any more, if sending to it has failed since the last look.

        Raises
        ------
        BrokerAway
            The broker does not say.
        """
        if self._stale or stream not in self._known:
            await self._look()
        check_stream(stream, self._known)

    def doubt(self) -> None:
        """Note that sending has failed: a topic may have been deleted."""
        self._stale = True

    async def _look(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._asked())
            # Retrieve the exception, so that asyncio does not log it as never retrieved.
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        await asyncio.shield(self._asking)

    async def _asked(self) -> None:
        try:
            self._known, self._stale = await self._ask(), False
        except BrokerAway:
            self._away_until_s = asyncio.get_running_loop().time() + AWAY_S
            raise
