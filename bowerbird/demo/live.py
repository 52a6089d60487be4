"""The live world over Kafka: requests, replies, and what the visitors do with what they are shown."""

import asyncio
import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import orjson

from bowerbird.demo.world import Article, Event, Visit, World
from stream.kafka.connection import Connection, array

POLICY = "front"
EVERY_S = 0.05
"""How often requests and events are sent: those of so long go in one message."""
BIN = 100
"""Visits of one point of a curve."""
REPLIES_WITHIN_S = 10.0


class Shown(NamedTuple):
    """One visit that got its decision, and how it went.

    ``uniform`` and ``best``: the probability of a click, had the article been drawn uniformly, or chosen by somebody
    who knows the visitor.
    """

    number: int
    at_s: float
    clicked: bool
    uniform: float
    best: float
    version: str


class Point(NamedTuple):
    """Click rates of some successive visits, in the middle of which ``visit`` stands."""

    visit: float
    at_s: float
    policy: float
    uniform: float
    best: float


class _Reply(msgspec.Struct, frozen=True):
    event_id: str | None = None
    chosen: str = ""
    policy_version: str = ""
    error: dict[str, str | None] | None = None


_replies = msgspec.json.Decoder(list[_Reply])


class LiveWorld:
    """Sends the visits of a world in real time.

    Attributes
    ----------
    shown
        The visits that got a decision, in the order of the replies.
    errors
        Error replies by code.
    sent
        Events by stream; ``repeated``, ``ahead`` and ``late`` of them were sent twice, before their decision, or
        after its window.
    """

    def __init__(self, world: World, client: Connection, visits_a_second: float, window_s: float) -> None:
        self.world = world
        self.asked = 0
        self.shown: list[Shown] = []
        self.errors: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.repeated = self.ahead = self.late = 0
        self._client = client
        self._rate = visits_a_second
        self._window_s = window_s
        self._articles = {article.id: article for article in world.articles()}
        self._actions = msgspec.Raw(msgspec.json.encode([article.action() for article in self._articles.values()]))
        self._waiting: dict[str, Visit] = {}
        self._due: list[tuple[float, int, Event]] = []
        self._made = 0
        self._clock = asyncio.get_running_loop().time
        self._began_s = self._clock()

    @property
    def now_s(self) -> float:
        """Seconds since the world began."""
        return self._clock() - self._began_s

    @property
    def articles(self) -> Sequence[Article]:
        """What the front page can show."""
        return tuple(self._articles.values())

    async def run(self, moments: Sequence[tuple[float, Callable[[], None]]] = ()) -> None:
        """Send everything, and return when the last event is sent.

        Parameters
        ----------
        moments
            What else is to happen, each at a share of the visits, in rising order.
        """
        waiting = list(moments)
        self._began_s = self._clock()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            while self.asked < self.world.visits:
                while waiting and self.asked >= waiting[0][0] * self.world.visits:
                    waiting.pop(0)[1]()
                await self._ask(min(self.world.visits, math.ceil(self.now_s * self._rate)))
                await self._send_due(self.now_s)
                await asyncio.sleep(EVERY_S)
            give_up_s = self.now_s + REPLIES_WITHIN_S
            while self._due or (self._waiting and self.now_s < give_up_s):
                await self._send_due(self.now_s)
                await asyncio.sleep(EVERY_S)
            reading.cancel()
        if self._waiting:
            self.errors["no reply"] = len(self._waiting)

    async def _ask(self, until: int) -> None:
        visits = [self.world.visit(number) for number in range(self.asked, until)]
        if not visits:
            return
        self.asked = until
        ahead = [event for visit in visits for event in self.world.before(visit)]
        self.ahead += len(ahead)
        await self._send(ahead)
        self._waiting.update((visit.event_id, visit) for visit in visits)
        requests = [
            msgspec.json.encode(
                {
                    "v": 1,
                    "event_id": visit.event_id,
                    "placement": POLICY,
                    "context": visit.context(),
                    "actions": self._actions,
                }
            )
            for visit in visits
        ]
        await self._client.ask(array(requests), f"visits-{visits[0].number}")

    async def _read(self) -> None:
        while True:
            for message in await self._client.replies(wait_ms=200):
                for reply in _replies.decode(message.value or b"[]"):
                    self._reply(reply)

    def _reply(self, reply: _Reply) -> None:
        visit = self._waiting.pop(reply.event_id or "", None)
        if visit is None:
            return  # answered twice: the reply to a request that was read again
        if reply.error is not None:
            self.errors[str(reply.error.get("code"))] += 1
            return
        now_s, world = self.now_s, self.world
        article = self._articles[reply.chosen]
        self.shown.append(
            Shown(
                visit.number,
                now_s,
                world.clicks(visit, article),
                world.uniform(visit, self.articles),
                world.best_possible(visit, self.articles),
                reply.policy_version,
            )
        )
        events = world.events(visit, article)
        self.repeated += len(events) - len({event.id for event in events})
        self.late += len({event.id for event in events if (event.after_s or 0.0) > self._window_s})
        for event in events:
            self._made += 1
            heapq.heappush(self._due, (now_s + (event.after_s or 0.0), self._made, event))

    async def _send_due(self, now_s: float) -> None:
        due: list[Event] = []
        while self._due and self._due[0][0] <= now_s:
            due.append(heapq.heappop(self._due)[2])
        await self._send(due)

    async def _send(self, events: Sequence[Event]) -> None:
        streams: dict[str, list[bytes]] = {}
        for event in events:
            record = {"v": 1, "id": event.id, "event_id": event.event_id}
            streams.setdefault(event.stream, []).append(orjson.dumps(record))
        for stream, records in streams.items():
            self.sent[stream] += len(records)
            await self._client.append(stream, array(records))

    def rates(self, start: float = 0.0, end: float = 1.0) -> Point:
        """Return the click rates of the visits between two shares of all visits."""
        low, high = start * self.world.visits, end * self.world.visits
        return _point([visit for visit in self.shown if low <= visit.number < high])

    def curve(self) -> list[Point]:
        """Return the click rates so far, a point for each :data:`BIN` visits that are complete."""
        bins: dict[int, list[Shown]] = {}
        for visit in self.shown:
            bins.setdefault(visit.number // BIN, []).append(visit)
        newest = max(bins, default=0)
        return [_point(bins[number]) for number in sorted(bins) if number < newest or self.asked == self.world.visits]


def _point(visits: Sequence[Shown]) -> Point:
    if not visits:
        return Point(*[math.nan] * 5)
    means = [math.fsum(column) / len(visits) for column in zip(*(visit[:5] for visit in visits), strict=True)]
    number, at_s, clicked, uniform, best = means
    return Point(number, at_s, clicked, uniform, best)
