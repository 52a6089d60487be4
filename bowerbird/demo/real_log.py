"""A real log as traffic: decisions that another system took, with their propensities, and the clicks on them."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import NamedTuple

import msgspec
import numpy as np

from policies.features import ActionCache
from policies.policy_store import PolicyIdentity
from policies.training import action_cache, example_of, outcomes_of
from records.fields import EXTERNAL
from records.message import Message
from records.policy_version import PolicyVersion
from records.rule import Rule
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals.delta import delta_of_rows
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.logs.open_bandit import Item, LoggedDecision, read_decisions, read_items
from replay.evaluation.progressive import Row, progressive
from replay.evaluation.rows import EvaluationRows, Floats
from replay.proof.rebuild import Rebuild

HASH_DIGITS = 8
"""So many digits of a hashed feature tell its values apart, and save three quarters of the bytes."""


class Logged(NamedTuple):
    """A decision of the log as a record of ``decisions``, and the click on it where there was one."""

    decision: bytes
    click: bytes | None


def packaged_log() -> tuple[list[Item], list[LoggedDecision]]:
    """Return the items and the decisions of the log that comes with the demo."""
    with as_file(files(__package__) / "data") as folder:
        return read_items(folder / "item_context.csv.xz"), list(read_decisions(folder / "men.csv.xz"))


def traffic(placement: str, rule: Rule, items: Sequence[Item], decisions: Iterable[LoggedDecision]) -> Iterator[Logged]:
    """Yield the records that the log becomes.

    The log was drawn uniformly, so every item has the propensity of the one that was shown. The event ids rise, since
    windows that close at one time close in the order of the event ids.
    """
    actions = msgspec.Raw(msgspec.json.encode([_action(item) for item in items]))
    rule_json = msgspec.Raw(msgspec.json.encode(rule))
    for number, row in enumerate(decisions):
        event_id = f"{placement}-{number:06d}"
        decision = {
            "v": 1,
            "event_id": event_id,
            "placement": placement,
            "policy": placement,
            "context": {"user": _hashes(row.user), "page": {"position": f"p{row.position}"}},
            "actions": actions,
            "pmf": [row.propensity] * len(items),
            "chosen": str(row.item_id),
            "propensity": row.propensity,
            "policy_version": EXTERNAL,
            "rule": rule_json,
        }
        click = {"v": 1, "id": f"{event_id}-click", "event_id": event_id}
        yield Logged(msgspec.json.encode(decision), json.dumps(click).encode() if row.clicked else None)


def _action(item: Item) -> dict[str, object]:
    return {"id": str(item.id), "features": {"item": {"number": item.number, **_hashes(item.hashes)}}}


def _hashes(hashes: Sequence[str]) -> dict[str, str]:
    return {f"hash{index}": value[:HASH_DIGITS] for index, value in enumerate(hashes)}


@dataclass(frozen=True, slots=True)
class Worth:
    """What a policy would have been worth, in rewards a decision; ``max_weight`` is what one row can move."""

    ips: Interval
    snips: Interval
    max_weight: float


class Values(NamedTuple):
    """What two policies would have been worth on the log: one that draws uniformly, and the one that learned."""

    uniform: Worth
    learned: Worth


def values(
    policy: str, identity: PolicyIdentity, versions: Sequence[PolicyVersion], rewards: Sequence[Message]
) -> Values:
    """Evaluate a policy on the outcomes that it learned from, each by the version that had not learned it yet.

    Parameters
    ----------
    versions
        The published versions of the policy, in the order of their numbers.
    rewards
        The messages of its partition of ``rewards``, in the order of the log.
    """
    rebuild = Rebuild(policy, identity, versions)
    models = [(0, rebuild.policy.dump())]
    try:
        for message in rewards:
            models += [(version.published.cut, rebuild.policy.dump()) for version in rebuild.until(message.offset)]
            rebuild.learn(message)
    finally:
        rebuild.close()
    published = ((cut, identity.make(model)) for cut, model in models)
    weighted = list(progressive(_rows(identity.placements, rewards, action_cache()), published))
    rewarded = np.array([row.reward for row in weighted])
    return Values(worth(np.ones(len(weighted)), rewarded), worth(np.array([row.weight for row in weighted]), rewarded))


def worth(weights: Floats, rewards: Floats) -> Worth:
    """Return a value by weights and rewards: shape (rows,) each."""
    rows = EvaluationRows(reward=rewards, propensity=np.ones(len(rewards)), target=weights)
    ips, snips = (delta_of_rows(estimator, rows) for estimator in (InversePropensity(), SelfNormalised()))
    return Worth(ips, snips, float(weights.max(initial=0.0)))


def _rows(placements: Collection[str], rewards: Iterable[Message], known: ActionCache) -> Iterator[Row]:
    last: dict[str, int] = {}
    for message in rewards:
        for outcome in outcomes_of(placements, message.value):
            if outcome.revision or outcome.outcome_seq <= last.get(outcome.outbox, 0):
                continue
            last[outcome.outbox] = outcome.outcome_seq
            question, (pick,) = example_of(outcome, known)
            yield Row(message.offset, question, pick, outcome.reward)
