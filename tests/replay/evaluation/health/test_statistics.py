"""Statistics of a log: equal to a plain numpy oracle, and the same bits however the log was cut into parts."""

import dataclasses
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.limits import HOUR_MS
from replay.evaluation.blocks import Blocks
from replay.evaluation.health.findings import findings
from replay.evaluation.health.hashes import KEPT as KEPT_HASHES
from replay.evaluation.health.hashes import Sampled
from replay.evaluation.health.periods import KEPT as KEPT_PERIODS
from replay.evaluation.health.periods import Periods
from replay.evaluation.health.state import State
from replay.evaluation.health.statistics import statistics
from replay.evaluation.health.verdict import verdict
from replay.evaluation.health.warning_statistics import FAMILIES
from replay.evaluation.rows import EvaluationRows, joined


def log(rows: int, seed: int = 0, *, offset: float = 0.0, heavy: float = 1.0, actions: int = 5) -> EvaluationRows:
    chance = np.random.default_rng(seed)
    pmf = chance.dirichlet(np.full(actions, heavy), size=rows) * 0.98 + 0.02 / actions
    target = chance.dirichlet(np.ones(actions), size=rows)
    each = np.arange(rows)
    edges = pmf.cumsum(axis=1)
    action = np.minimum((chance.random(rows)[:, None] > edges).sum(axis=1), actions - 1).astype(np.int32)
    return EvaluationRows(
        reward=offset + (chance.random(rows) < 0.2) * chance.gamma(2.0, size=rows),
        propensity=pmf[each, action],
        target=target[each, action],
        model_logged=offset + chance.random(rows),
        model_target=offset + chance.random(rows),
        squared_weight=(target**2 / pmf).sum(axis=1),
        unseen=chance.random(rows) * 0.01,
        inverse=np.full(rows, float(actions)),
        squared_inverse=(1 / pmf).sum(axis=1),
        action=action,
        rank=edges[each, action] - pmf[each, action] / 2,
        event_hash=chance.integers(0, 2**64, size=rows, dtype=np.uint64),
        unit_hash=chance.integers(0, 50, size=rows).astype(np.uint64),
        time_ms=np.linspace(0, 30 * 86_400_000, rows).astype(np.int64),
        version=chance.integers(0, 3, size=rows).astype(np.int32),
    )


def oracle(rows: Any) -> dict[str, float]:
    w, r, n = rows.weight, rows.reward, len(rows)
    worth, value = w * r, (w * r).sum() / w.sum()
    spread = {"ips": worth - worth.mean(), "snips": w * (r - value)}
    corrected = rows.model_target + w * (r - rows.model_logged)
    spread["dr"] = corrected - corrected.mean()
    size = {"ips": (r**2).mean(), "snips": ((r - value) ** 2).mean(), "dr": ((r - rows.model_logged) ** 2).mean()}
    errors = {"ips": worth.std(ddof=1) / n**0.5, "snips": np.sqrt((spread["snips"] ** 2).sum()) / w.sum()}
    errors["dr"] = corrected.std(ddof=1) / n**0.5
    return {
        "mean_weight": w.mean(),
        "max_weight": w.max(),
        "ess": w.sum() ** 2 / (w**2).sum(),
        "ess_of_pmf": n / rows.squared_weight.mean(),
        "effective_positives": np.abs(worth).sum() ** 2 / (worth**2).sum(),
        "unseen": rows.unseen.mean(),
        "largest_share": w.max() / w.sum(),
        "largest_percent_share": np.sort(w)[-max(1, -(-n // 100)) :].sum() / w.sum(),
        "rows_each_unit": n / len(np.unique(rows.unit_hash)),
        **{f"variance_ess_{name}": (x**2).sum() ** 2 / (x**4).sum() for name, x in spread.items()},
        **{f"unseen_errors_{name}": rows.unseen.mean() * np.sqrt(size[name]) / error
           for name, error in errors.items()},
    }  # fmt: skip


def added(rows: EvaluationRows, cuts: list[int]) -> State:
    total = State.of(rows.where(slice(0, 0)))
    for start, end in pairwise([0, *sorted(cuts), len(rows)]):
        total = total + State.of(rows.where(slice(start, end)))
    return total


@pytest.mark.parametrize(("offset", "heavy"), [(0.0, 1.0), (-3.0, 0.3), (1e6, 1.0)])
@pytest.mark.parametrize("cuts", [[], [1, 2, 700], list(range(0, 4000, 97))])
def test_statistics_are_those_of_numpy(offset, heavy, cuts):
    rows = log(4_000, offset=offset, heavy=heavy)
    values = statistics(added(rows, cuts))
    # What was read with an offset of a million has lost six digits before anybody adds.
    exact = 1e-9 if offset < 1e3 else 2e-4
    for name, value in oracle(rows).items():
        assert values[name] == pytest.approx(value, rel=exact), name


def bits(state: State | None) -> bytes:
    assert state is not None
    return pickle.dumps(dataclasses.asdict(state))


@given(order=st.permutations(range(7)), owner=st.lists(st.integers(0, 2), min_size=7, max_size=7))
def test_the_same_bits_whoever_added_which_block(order, owner):
    rows = log(700, heavy=0.3)
    blocks = [rows.where(slice(100 * index, 100 * index + 100)) for index in range(7)]
    one = Blocks[State]()
    for index, block in enumerate(blocks):
        one.put(index, State.of(block))
    several = [Blocks[State]() for _ in range(3)]
    for index in order:
        several[owner[index]].put(index, State.of(blocks[index]))
    assert bits((several[2] + several[0] + several[1]).total()) == bits(one.total())


def test_a_part_without_rows_changes_nothing():
    rows = log(50)
    nothing = EvaluationRows(reward=np.empty(0), propensity=np.empty(0), target=np.empty(0))
    assert bits(State.of(nothing) + State.of(rows)) == bits(State.of(rows) + State.of(nothing)) == bits(State.of(rows))
    assert statistics(State.of(nothing)) == {"rows": 0.0}


def test_what_one_part_cannot_tell_is_unknown():
    rows = log(50)
    bare = EvaluationRows(reward=rows.reward, propensity=rows.propensity, target=rows.target)
    values = statistics(State.of(rows) + State.of(bare))
    assert values["unseen"] is None
    assert values["ess_of_pmf"] is None
    assert values["variance_ess_dr"] is None
    assert values["mean_weight"] == pytest.approx(rows.weight.mean())
    assert bits(State.of(joined([rows, bare]))) == bits(State.of(joined([rows, bare])))


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_few_rows_and_no_weight_give_numbers_or_none(rows, weight):
    half = np.full(rows, 0.5)
    values = statistics(State.of(EvaluationRows(reward=np.zeros(rows), propensity=half, target=weight * half)))
    assert all(value is None or np.isfinite(value) for value in values.values())
    assert values["ess"] == (rows if weight else None)


@pytest.mark.parametrize(
    ("column", "value"), [("reward", np.nan), ("weight", np.inf), ("weight", -1.0), ("propensity", 0.0)]
)
def test_what_no_reader_lets_pass_is_refused(column, value):
    half = np.full(3, 0.5)
    columns: Any = {
        "reward": half,
        "propensity": half,
        "target": half,
        "weight": half,
        column: np.array([0.5, value, 0.5]),
    }
    with pytest.raises(ValueError, match="expected"):
        State.of(EvaluationRows(**columns))


def test_repeated_events_are_seen_and_counted_by_a_bounded_sample():
    rows = log(30_000)
    twice = joined([rows, rows.where(slice(0, 3_000))])
    assert statistics(State.of(rows))["repeated"] == 0.0
    state = added(twice, [10_000, 25_000])
    assert state.events is not None
    assert len(state.events.hashes) <= KEPT_HASHES
    assert statistics(state)["repeated"] == pytest.approx(3_000 / 33_000, abs=0.02)


@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=4))
def test_a_sample_of_hashes_does_not_depend_on_the_parts(lengths):
    hashes = np.random.default_rng(1).integers(0, 2**64, size=sum(lengths), dtype=np.uint64)
    whole = Sampled.of(hashes)
    parts = [Sampled.of(part) for part in np.split(hashes, np.cumsum(lengths)[:-1])]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.halvings == whole.halvings
    assert np.array_equal(total.hashes, whole.hashes)
    assert np.array_equal(total.counts, whole.counts)


def test_periods_stay_bounded_and_say_whether_something_drifts():
    chance = np.random.default_rng(2)
    hours = np.arange(5_000) * 3 * HOUR_MS
    still, moving = chance.random(5_000), chance.random(5_000) + np.linspace(0, 0.2, 5_000)
    columns = np.stack([still, moving, np.full(5_000, 0.3)], axis=1)
    periods = Periods.of(hours[:2_000], columns[:2_000]) + Periods.of(hours[2_000:], columns[2_000:])
    assert len(periods.places) <= KEPT_PERIODS
    assert periods.counts.sum() == 5_000
    assert periods.counts @ periods.means[:, 1] / 5_000 == pytest.approx(moving.mean())
    whole = Periods.of(hours, columns)
    assert np.allclose(periods.means, whole.means)
    assert np.allclose(periods.squares, whole.squares)
    assert (periods.drift(0) or 0.0) > 0.01
    moved = periods.drift(1)
    assert moved is not None
    assert moved < 1e-6
    assert periods.drift(2) is None


def test_periods_of_two_logs_become_longer_where_they_were_too_many():
    some = np.arange(1_000)
    early, late = (Periods.of((start + some) * HOUR_MS, np.ones((1_000, 1))) for start in (0, 5_000))
    assert early.doublings == 0
    assert len((early + late).places) <= KEPT_PERIODS
    assert (early + late).counts.sum() == 2_000


def test_a_log_of_one_hour_has_no_drift():
    assert Periods.of(np.zeros(10, dtype=np.int64), np.random.default_rng(0).random((10, 1))).drift(0) is None


def test_many_actions_are_not_told_apart_and_take_no_memory():
    rows = dataclasses.replace(log(100), action=np.arange(100, dtype=np.int32) * 20_000_000)
    state = State.of(rows)
    assert state.actions is not None
    assert state.actions.crowded
    assert state.actions.sums.shape[1] <= 65_536
    few = State.of(log(100)).actions
    assert few is not None
    assert (few + state.actions).crowded
    assert (state.actions + few).crowded
    assert not (few + few).crowded


@given(
    weights=st.lists(st.sampled_from([0.0, 1e-9, 0.5, 1.0, 1.0000001, 3.0, 1e6]), min_size=1, max_size=40),
    rewards=st.sampled_from([(0.0,), (1.0,), (0.0, 1.0), (-1.0, 1.0), (1e9, 1e9 + 1)]),
    propensity=st.sampled_from([1e-9, 0.5, 1.0]),
)
def test_whatever_a_log_holds_numbers_are_finite_and_the_verdict_is_a_sentence(weights, rewards, propensity):
    rows = len(weights)
    log = EvaluationRows(
        reward=np.resize(np.array(rewards), rows),
        propensity=np.full(rows, propensity),
        target=np.array(weights) * propensity,
        model_logged=np.full(rows, 0.5),
        model_target=np.full(rows, 0.5),
        squared_weight=np.array(weights) ** 2 + 1,
        unseen=np.zeros(rows),
        inverse=np.full(rows, 1 / propensity),
        squared_inverse=np.full(rows, 1 / propensity**2),
        action=np.zeros(rows, dtype=np.int32),
        rank=np.full(rows, 0.5),
        time_ms=np.arange(rows, dtype=np.int64) * HOUR_MS,
    )
    for each_log in (log, dataclasses.replace(log, squared_weight=None, unseen=None, inverse=None, rank=None)):
        state = State.of(each_log)
        known, checked = statistics(state), findings(state)
        assert all(value is None or np.isfinite(value) for value in known.values())
        assert all(each.p_value is None or 0 <= each.p_value <= 1 for each in checked)
        for family in FAMILIES:
            judgement = verdict(known, checked, family)
            assert judgement.sentence.startswith(f"{judgement.level}: ")
            assert bool(judgement.reasons) == (judgement.level != "reliable")
