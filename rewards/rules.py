"""When a window opens and closes, which feedback counts, and what reward it makes.

Everything here is a pure function of what the log holds: the rule is part of the decision (written by the
decide role), so a join of any age and configuration gives the same reward.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Aggregate = Literal["sum", "first", "last", "max", "min", "mean"]
REWARD_LIMIT = 1e6
"""No reward lies beyond this: a larger cost poisons a Vowpal Wabbit model for good."""


@dataclass(frozen=True, slots=True)
class StreamReward:
    """What one event of a stream is worth, and how several of one stream become one number.

    Attributes
    ----------
    weight
        The worth of each event; exclusive with ``value``.
    value
        True: an event is worth its own ``value`` (an event without one is worth 0).
    aggregate
        How the worths of one stream's counted events, in the order of their places, become one number.
    """

    weight: float | None = None
    value: bool = False
    aggregate: Aggregate = "sum"

    def __post_init__(self) -> None:
        if self.value == (self.weight is not None):
            raise ValueError("exactly one of weight (a number) and value = true is expected")
        if self.weight is not None and not abs(self.weight) <= REWARD_LIMIT:
            raise ValueError(f"weight must be a number within ±{REWARD_LIMIT:g}, found {self.weight!r}")
        if self.aggregate not in AGGREGATES:
            raise ValueError(f"aggregate must be one of {', '.join(AGGREGATES)}, found {self.aggregate!r}")


@dataclass(frozen=True, slots=True)
class Reward:
    """How counted feedback becomes a reward: per stream, added over streams, clipped; else the default.

    Attributes
    ----------
    default
        The reward where nothing counted.
    clip
        The least and the greatest reward; the default is not clipped.
    close_on
        Streams whose events close the window early, at their own time.
    streams
        What the events of each stream are worth; those of other streams are worth nothing.
    """

    default: float = 0.0
    clip: tuple[float, float] = (-REWARD_LIMIT, REWARD_LIMIT)
    close_on: tuple[str, ...] = ()
    streams: dict[str, StreamReward] = field(default_factory=dict)

    def __post_init__(self) -> None:
        low, high = self.clip
        if not -REWARD_LIMIT <= low <= high <= REWARD_LIMIT:
            raise ValueError(f"clip must be two rising numbers within ±{REWARD_LIMIT:g}, found {list(self.clip)!r}")
        if not abs(self.default) <= REWARD_LIMIT:
            raise ValueError(f"default must be a number within ±{REWARD_LIMIT:g}, found {self.default!r}")


@dataclass(frozen=True, slots=True)
class Rule:
    """All that the join must know of a decision; it is part of the decision itself.

    Attributes
    ----------
    window_s
        Feedback counts until this many seconds after the decision's log time.
    early_s
        Feedback counts from this many seconds before the decision's log time.
    activate_on
        A stream whose events activate the decision, or None where it is active from the start.
    reward
        The rule of the reward.
    """

    window_s: float
    early_s: float = 120.0
    activate_on: str | None = None
    reward: Reward = field(default_factory=Reward)

    def __post_init__(self) -> None:
        for name, seconds in (("window_s", self.window_s), ("early_s", self.early_s)):
            if not 0 <= seconds <= 366 * 86_400:
                raise ValueError(f"{name} must be a number of seconds from 0 to 366 days, found {seconds!r}")


@dataclass(frozen=True, slots=True)
class Event:
    """A feedback event as the rules see it: its stream, its identity in the stream, its worth."""

    stream: str
    id: str
    value: float | None = None
    activate: bool = False


def _mean(worths: Sequence[float]) -> float:
    return math.fsum(worths) / len(worths)


AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "first": lambda worths: worths[0],
    "last": lambda worths: worths[-1],
    "max": max,
    "min": min,
    "mean": _mean,
}


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds of a duration in seconds."""
    return round(seconds * 1000)


def opens_ms(rule: Rule, decision_ms: int) -> int:
    """Return the first log time at which feedback of a decision counts."""
    return decision_ms - milliseconds(rule.early_s)


def deadline_ms(rule: Rule, decision_ms: int) -> int:
    """Return the last log time at which feedback of a decision counts, before any early close."""
    return decision_ms + milliseconds(rule.window_s)


def counted(events: Sequence[Event]) -> list[Event]:
    """Return the events that count: the first of each (stream, id), given events in the order of places."""
    seen: dict[tuple[str, str], Event] = {}
    for event in events:
        seen.setdefault((event.stream, event.id), event)
    return list(seen.values())


def activated(rule: Rule, activate: bool, events: Sequence[Event]) -> bool:
    """Tell whether a decision is active, so that its outcome may be learned.

    A decision logged with ``activate`` and a rule without ``activate_on`` is active from the start; any other
    needs a counted event of the activating stream, or a counted event that says ``activate: true``.
    """
    if activate and rule.activate_on is None:
        return True
    return any(event.activate or event.stream == rule.activate_on for event in events)


def reward(rule: Reward, events: Sequence[Event]) -> float:
    """Return the reward of the counted events, given in the order of their places.

    >>> rule = Reward(streams={"clicks": StreamReward(weight=1.0, aggregate="max")})
    >>> reward(rule, [Event("clicks", "a"), Event("clicks", "b")])
    1.0
    >>> reward(rule, [])
    0.0
    """
    total = _total(rule.streams, events)
    if total is None:
        return rule.default
    low, high = rule.clip
    return min(max(total, low), high)


def reward_range(rule: Reward) -> tuple[float, float]:
    """Return the least and the largest reward that a rule can make, whatever the feedback; infinite without a bound.

    A stream that says nothing adds nothing, and at least one says something, else it is the default. A clip at
    ±:data:`REWARD_LIMIT`, which every rule has, is no bound that a reader could use. The ends hold to the last bit:
    they are added as :func:`reward` adds, and what is rounded there never falls when one of its terms rises.

    >>> reward_range(Reward(streams={"clicks": StreamReward(weight=1.0, aggregate="max")}))
    (0.0, 1.0)
    >>> reward_range(Reward(streams={"purchases": StreamReward(value=True)}, clip=(0.0, 50.0)))
    (0.0, 50.0)
    >>> reward_range(Reward(streams={"clicks": StreamReward(weight=1.0)}))
    (0.0, inf)
    """
    if not rule.streams:
        return rule.default, rule.default
    ends = [_range_of(stream) for stream in rule.streams.values()]
    # The one end by all streams that lower it, or, if none does, by that which lifts it least.
    least = math.fsum(low for low, _ in ends if low < 0) or min(low for low, _ in ends)
    largest = math.fsum(high for _, high in ends if high > 0) or max(high for _, high in ends)
    low, high = rule.clip
    least, largest = min(max(least, low), high), min(max(largest, low), high)
    least, largest = min(least, rule.default), max(largest, rule.default)
    return -math.inf if least <= -REWARD_LIMIT else least, math.inf if largest >= REWARD_LIMIT else largest


def _range_of(stream: StreamReward) -> tuple[float, float]:
    if stream.weight is None:
        return -math.inf, math.inf
    if stream.aggregate == "mean":
        # n equal worths, added, rounded, divided by n and rounded again, come back to them or to a neighbour.
        return math.nextafter(stream.weight, -math.inf), math.nextafter(stream.weight, math.inf)
    if stream.aggregate != "sum":
        return stream.weight, stream.weight
    # One event or any number of them.
    many = math.copysign(math.inf, stream.weight) if stream.weight else 0.0
    return min(stream.weight, many), max(stream.weight, many)


def _total(streams: Mapping[str, StreamReward], events: Sequence[Event]) -> float | None:
    worths: dict[str, list[float]] = {}
    for event in events:
        if (stream := streams.get(event.stream)) is not None:
            worth = (event.value or 0.0) if stream.value else (stream.weight or 0.0)
            worths.setdefault(event.stream, []).append(worth)
    if not worths:
        return None
    parts = [AGGREGATES[streams[name].aggregate](worths[name]) for name in sorted(worths)]
    return math.fsum(parts)
