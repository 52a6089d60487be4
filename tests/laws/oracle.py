"""What the join must make of finished logs, computed from the logs alone and in the plainest way.

Nothing here is shared with ``rewards``: the records are read with the standard library's JSON, and windows,
activation, reward and running numbers are worked out again from the protocol.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple
from zlib import crc32

Position = tuple[int, str, int, int, int]
"""Log time in ms, stream, partition, offset, index in the array."""

DECISIONS = "decisions"


class Message(NamedTuple):
    """A message of the log; ``stream`` is the topic without the prefix."""

    stream: str
    partition: int
    offset: int
    time_ms: int
    value: bytes


class Closed(NamedTuple):
    """An outcome: what it must say, whatever the schedule. ``counted`` are the positions of the feedback.

    ``rewards``: one for each place of a ranked list, else none.
    """

    outcome_seq: int
    event_id: str
    why: str
    learn: bool
    reward: float
    rewards: tuple[float, ...]
    closed_ms: int
    decision: Position
    counted: tuple[Position, ...]


class Verdict(NamedTuple):
    """The outcomes of each (shard, policy) in the order of seq, and the feedback that no window took."""

    outcomes: dict[tuple[int, str], list[Closed]]
    dead_letters: set[Position]


class _Record(NamedTuple):
    position: Position
    body: dict[str, Any]

    @property
    def time_ms(self) -> int:
        return self.position[0]

    @property
    def stream(self) -> str:
        return self.position[1]


class _Unnumbered(NamedTuple):
    placement: str
    event_id: str
    why: str
    learn: bool
    reward: float
    rewards: tuple[float, ...]
    closed_ms: int
    decision: Position
    counted: tuple[Position, ...]


def judge(logs: Iterable[Message], *, shards: int, dedup_horizon_ms: int, feedback_limit: int = 1000) -> Verdict:
    """Return what any join must have emitted once everything in the logs has closed."""
    decisions: dict[str, list[_Record]] = defaultdict(list)
    feedback: dict[str, list[_Record]] = defaultdict(list)
    for record in _records(logs):
        side = decisions if record.stream == DECISIONS else feedback
        side[record.body["event_id"]].append(record)

    closed: dict[tuple[int, str], list[_Unnumbered]] = defaultdict(list)
    dead_letters: set[Position] = set()
    for event_id in decisions.keys() | feedback.keys():
        outcomes, unused = _generations(
            event_id,
            sorted(decisions[event_id], key=_by_position),
            sorted(feedback[event_id], key=_by_position),
            dedup_horizon_ms,
            feedback_limit,
        )
        dead_letters |= unused
        for outcome in outcomes:
            closed[crc32(event_id.encode()) % shards, outcome.placement].append(outcome)

    numbered: dict[tuple[int, str], list[Closed]] = {}
    for where, outcomes in closed.items():
        in_order = sorted(outcomes, key=lambda outcome: (outcome.closed_ms, outcome.event_id.encode()))
        numbered[where] = [Closed(seq, *outcome[1:]) for seq, outcome in enumerate(in_order, start=1)]
    return Verdict(numbered, dead_letters)


def _records(logs: Iterable[Message]) -> Iterable[_Record]:
    for message in logs:
        parsed = json.loads(message.value)
        for index, body in enumerate(parsed if isinstance(parsed, list) else [parsed]):
            if "event_id" in body:  # anything else is refused at the door
                yield _Record((message.time_ms, message.stream, message.partition, message.offset, index), body)


def _by_position(record: _Record) -> Position:
    return record.position


def _generations(
    event_id: str,
    decisions: Sequence[_Record],
    feedback: Sequence[_Record],
    dedup_horizon_ms: int,
    feedback_limit: int,
) -> tuple[list[_Unnumbered], set[Position]]:
    """Cut the records of one event id into lives of ``dedup_horizon_ms`` each and judge every life by itself."""
    outcomes: list[_Unnumbered] = []
    unused = {record.position for record in feedback}
    over = -1  # the last log time of the life before
    left = list(decisions)
    while left:
        first, until = left[0], left[0].time_ms + dedup_horizon_ms
        copies = [record for record in left[1:] if record.time_ms <= until]
        in_window = [record for record in feedback if over < record.time_ms <= until]
        outcome, taken = _judge(event_id, first, copies, in_window, over + 1, feedback_limit)
        outcomes.append(outcome)
        unused -= taken
        left = [record for record in left if record.time_ms > until]
        over = until
    return outcomes, unused


def _judge(
    event_id: str,
    decision: _Record,
    copies: Sequence[_Record],
    feedback: Sequence[_Record],
    not_before_ms: int,
    feedback_limit: int,
) -> tuple[_Unnumbered, set[Position]]:
    """Return the outcome of one decision, and the positions of the feedback that its window took."""
    body, rule = decision.body, decision.body["rule"]
    reward_rule = rule.get("reward", {})
    opens_ms = max(decision.time_ms - round(rule.get("early_s", 120) * 1000), not_before_ms)
    natural_ms = decision.time_ms + round(rule["window_s"] * 1000)

    closing = [
        max(record.time_ms, decision.time_ms)
        for record in feedback
        if record.stream in reward_rule.get("close_on", []) and opens_ms <= record.time_ms <= natural_ms
    ]
    closed_ms = min([natural_ms, *closing])

    open_for = [record for record in feedback if record.time_ms >= opens_ms][:feedback_limit]
    taken = [record for record in open_for if record.time_ms <= closed_ms]
    counted: dict[tuple[str, str], _Record] = {}
    for record in taken:
        _, stream, partition, offset, index = record.position
        identity = record.body.get("id")
        if identity is None:
            identity = f"{stream}-{partition}-{offset}-{index}"
        counted.setdefault((stream, identity), record)

    conflicting = any(copy.time_ms <= closed_ms and _shown(copy) != _shown(decision) for copy in copies)
    expires_at_ms = body.get("expires_at_ms")
    if conflicting:
        why = "conflicting"
    elif expires_at_ms is not None and decision.time_ms > expires_at_ms:
        why = "expired"
    elif not _active(body, rule, list(counted.values())):
        why = "not_activated"
    else:
        why = "early" if closed_ms < natural_ms else "window"
    shown = [pick["action"] for pick in body.get("picks", [])] or [body["chosen"]]
    rewards = [
        _reward(reward_rule, [each for each in counted.values() if each.body.get("action", shown[0]) == action])
        for action in shown
    ]
    outcome = _Unnumbered(
        placement=body["placement"],
        event_id=event_id,
        why=why,
        learn=why in ("window", "early"),
        reward=_exact_sum(rewards),
        rewards=tuple(rewards) if "picks" in body else (),
        closed_ms=closed_ms,
        decision=decision.position,
        counted=tuple(record.position for record in counted.values()),
    )
    return outcome, {record.position for record in taken}


def _shown(decision: _Record) -> tuple[Any, ...]:
    names = ("placement", "policy", "policy_version", "pmf", "chosen")
    return (*(decision.body[name] for name in names), str(decision.body.get("picks")))


def _active(body: dict[str, Any], rule: dict[str, Any], counted: Sequence[_Record]) -> bool:
    if body.get("activate", True) and rule.get("activate_on") is None:
        return True
    return any(record.body.get("activate") is True or record.stream == rule.get("activate_on") for record in counted)


def _exact_sum(worths: Sequence[float]) -> float:
    return float(sum(map(Fraction, worths), Fraction(0)))


_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": _exact_sum,
    "first": lambda worths: worths[0],
    "last": lambda worths: worths[-1],
    "max": lambda worths: max(worths),
    "min": lambda worths: min(worths),
    "mean": lambda worths: _exact_sum(worths) / len(worths),
}


def _reward(rule: dict[str, Any], counted: Sequence[_Record]) -> float:
    parts: list[float] = []
    for stream, worth in rule.get("streams", {}).items():
        events = [record.body for record in counted if record.stream == stream]
        if not events:
            continue
        if worth.get("value"):
            worths = [float(event.get("value") or 0) for event in events]
        else:
            worths = [float(worth["weight"])] * len(events)
        parts.append(_AGGREGATES[worth.get("aggregate", "sum")](worths))
    if not parts:
        return float(rule.get("default", 0.0))
    low, high = rule.get("clip", (-1e6, 1e6))
    return float(min(max(_exact_sum(parts), low), high))
