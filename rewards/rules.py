"""When a window opens and closes, which feedback counts, and what reward it makes.

Everything here is a pure function of what the log holds: the rule is part of the decision (written by the
decide role), so a join of any age and configuration gives the same reward. ``replay/proof/oracle.py`` has the same
rules a second time, on purpose: it is what ``verify`` compares with.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from records.limits import REWARD_LIMIT
from records.rule import Reward, Rule, StreamReward


@dataclass(frozen=True, slots=True)
class Event:
    """A feedback event as the rules see it: its stream, its identity in the stream, its worth, what it is about."""

    stream: str
    id: str
    value: float | None = None
    activate: bool = False
    action: str | None = None


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
    """Return the events that count: the first of each (stream, id), given events in the order of positions."""
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


def rewards(rule: Reward, shown: Sequence[str], events: Sequence[Event]) -> list[float]:
    """Return the reward of each action that was shown, in the order of the places.

    An event is about the action that it names, or else about the first place; about an action that was not shown it is
    worth nothing.
    """
    return [reward(rule, [event for event in events if (event.action or shown[0]) == action]) for action in shown]


def reward(rule: Reward, events: Sequence[Event]) -> float:
    """Return the reward of the counted events, given in the order of their positions.

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
