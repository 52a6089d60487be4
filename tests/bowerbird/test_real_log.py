"""The real log as traffic, and its value: a row is never judged by a version that has learned from it."""

import json
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from bowerbird.demo.real_log import Logged, packaged_log, traffic, values, worth
from bowerbird.settings import load
from policies.features import ActionCache, decode_context
from policies.policy_store import PolicyIdentity
from policies.registry import make
from records.decision import Decision
from records.limits import Limits
from records.policy_version import PolicyVersion
from tests.policies.asking import learn_one, pmf_of

CONFIG = load(Path(__file__).parents[2] / "bowerbird" / "demo" / "data" / "bowerbird.toml", {})
KIND, ARGUMENTS = CONFIG.policies["men"].kind, CONFIG.policies["men"].arguments
IDENTITY = PolicyIdentity(KIND, ARGUMENTS, "men", ("men",))
ROWS, A_MESSAGE = 1200, 100


class Rewards(NamedTuple):
    """A message of ``rewards``."""

    offset: int
    value: bytes
    topic: str = "rewards"
    partition: int = 0
    time_ms: int = 0


@pytest.fixture(scope="module")
def logged() -> list[Logged]:
    items, decisions = packaged_log()
    return list(traffic("men", CONFIG.rule("men"), items, decisions[:ROWS]))


def rewards(logged: list[Logged]) -> list[Rewards]:
    """Return what the join would make of the log, each message twice: a repeat counts once."""
    outcomes = [
        {
            "placement": "men",
            "policy": "men",
            "shard": 0,
            "outcome_seq": seq,
            "reward": float(row.click is not None),
            "learn": True,
            "decision": msgspec.Raw(row.decision),
        }
        for seq, row in enumerate(logged, start=1)
    ]
    parts = [outcomes[start : start + A_MESSAGE] for start in range(0, len(outcomes), A_MESSAGE)]
    twice = [part for part in parts for _ in range(2)]
    return [Rewards(offset, msgspec.json.encode(part)) for offset, part in enumerate(twice)]


def version(number: int, cut: int) -> PolicyVersion:
    """Return the record of a version; of it only number and cut matter here."""
    return PolicyVersion(
        placements=("men",),
        policy="men",
        number=number,
        version=str(number),
        kind=KIND,
        arguments=ARGUMENTS,
        salt="men",
        cut=cut,
        last_seqs={},
        digest="",
        examples=0,
    )


def test_the_traffic_is_what_the_loop_takes(logged: list[Logged]) -> None:
    for row in logged:
        decision = msgspec.json.decode(row.decision, type=Decision)
        assert decision.policy_version == "external"
        assert sum(decision.pmf) == pytest.approx(1.0)
        assert decision.pmf[int(decision.chosen)] == decision.propensity
        if row.click is not None:
            assert json.loads(row.click)["event_id"] == decision.event_id
    names = [msgspec.json.decode(row.decision, type=Decision).event_id for row in logged]
    assert names == sorted(set(names))
    assert 0 < sum(row.click is not None for row in logged) < ROWS / 50


def test_the_value_is_that_of_each_version_on_what_came_after_its_cut(logged: list[Logged]) -> None:
    cuts = [6, 12, 18]
    result = values("men", IDENTITY, [version(*pair) for pair in enumerate(cuts, start=1)], rewards(logged))

    learner, model = make(KIND, ARGUMENTS), make(KIND, ARGUMENTS).dump()
    known, weights, rewarded = ActionCache(Limits()), [], []
    for number, row in enumerate(logged):
        offset = 2 * (number // A_MESSAGE)
        if number % A_MESSAGE == 0 and offset in cuts:
            model = learner.dump()
            learner = make(KIND, ARGUMENTS, model)
        decision = msgspec.json.decode(row.decision, type=Decision)
        context = decode_context(bytes(decision.context), Limits())
        actions = [known.action(bytes(action), "action") for action in decision.actions]
        chosen, reward = int(decision.chosen), float(row.click is not None)
        if number % A_MESSAGE == 0:
            judge = make(KIND, ARGUMENTS, model)
        weights.append(pmf_of(judge, context, actions)[chosen] * 34)
        rewarded.append(reward)
        learn_one(learner, context, actions, chosen, decision.propensity, reward)

    assert result.uniform == worth(np.ones(ROWS), np.array(rewarded))
    expected = worth(np.array(weights), np.array(rewarded))
    assert expected.ips.value == pytest.approx(np.mean(np.array(weights) * rewarded))
    assert result.learned.ips.value == pytest.approx(expected.ips.value, rel=1e-9)
    assert result.learned.snips.high == pytest.approx(expected.snips.high, rel=1e-9)
    assert result.learned.max_weight > 1.01, "nothing was learned"


def test_without_a_version_the_value_is_that_of_version_0(logged: list[Logged]) -> None:
    result = values("men", IDENTITY, [], rewards(logged))
    assert result.learned.max_weight == pytest.approx(1.0, abs=1e-6)
