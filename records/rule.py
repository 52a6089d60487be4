"""The rule of a reward and its window, which every decision holds."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

import msgspec
from msgspec import Raw

from records.codec import decode
from records.errors import BadInput
from records.fields import Name
from records.limits import DAY_S, REWARD_LIMIT

Aggregate = Literal["sum", "first", "last", "max", "min", "mean"]


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
        How the worths of one stream's counted events, in the order of their positions, become one number.
    """

    weight: float | None = None
    value: bool = False
    aggregate: Aggregate = "sum"

    def __post_init__(self) -> None:
        if self.value == (self.weight is not None):
            raise ValueError("exactly one of weight (a number) and value = true is expected")
        if self.weight is not None and not abs(self.weight) <= REWARD_LIMIT:
            raise ValueError(f"weight must be a number within ±{REWARD_LIMIT:g}, found {self.weight!r}")
        if self.aggregate not in get_args(Aggregate):
            raise ValueError(f"aggregate must be one of {', '.join(get_args(Aggregate))}, found {self.aggregate!r}")


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
    close_on: tuple[Name, ...] = ()
    streams: dict[Name, StreamReward] = field(default_factory=dict)

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
    activate_on: Name | None = None
    reward: Reward = field(default_factory=Reward)

    def __post_init__(self) -> None:
        for name, seconds in (("window_s", self.window_s), ("early_s", self.early_s)):
            if not 0 <= seconds <= 366 * DAY_S:
                raise ValueError(f"{name} must be a number of seconds from 0 to 366 days, found {seconds!r}")


_rule = msgspec.json.Decoder(Rule)


def rule_of(raw: Raw) -> Rule:
    """Return the rule of a decision; most decisions share one, so it is cached by its bytes."""
    return _rule_of(bytes(raw))


@lru_cache(maxsize=1024)
def _rule_of(raw: bytes) -> Rule:
    try:
        return decode(_rule, raw)
    except BadInput as error:
        raise BadInput(error.code, f"rule.{error.field}", error.found, error.expected) from None
