"""A policy's value on a log is what ten lines of numpy say, and what is no honest log is refused by name."""

import csv
import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive.reader import Archive
from policies.controls import SHAPES
from policies.features import decode_action, decode_context
from policies.policy import Policy, version_name
from policies.policy_store import PolicyIdentity
from policies.registry import make
from records.codec import encode
from records.errors import BadInput, LossDetected, StateRefused, WrongConfiguration
from records.limits import Limits
from records.outcome import Outcome
from records.rule import Reward, StreamReward
from replay.evaluation.answer import Answer
from replay.evaluation.evaluate import evaluate
from replay.evaluation.logs.archive import ArchivedOutcomes
from replay.evaluation.logs.chunk import OPTIONAL, REWARD_RANGE, LogChunk, Progress, silent
from replay.evaluation.logs.description import describe
from replay.evaluation.logs.json_outcomes import JsonLines
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.open_bandit_columns import log_at
from replay.evaluation.logs.open_bandit_log import OpenBanditLog, read_target
from replay.evaluation.logs.outcome_selection import OutcomeOptions
from replay.evaluation.logs.outcomes import OutcomeLog
from replay.evaluation.options import Options
from replay.evaluation.result import How
from replay.evaluation.rows import EvaluationRows
from replay.evaluation.scan import OpenLog, PolicyLog, PolicyLogs
from replay.proof.archived_policy import ArchivedPolicy, archived_policy, uniform
from rewards.rules import Event, reward
from tests.policies.asking import pmf_of
from tests.replay.archived import archive_of
from tests.replay.arms import arms_world
from tests.replay.world import ARGUMENTS, World, busy_world

DATA = Path(os.environ.get("BOWERBIRD_TEST_DATA", Path(__file__).parents[4] / "shared" / "data")) / "open_bandit"
FIGURES = ("ips", "snips", "ess", "max_weight", "value_logged", "mean_weight")


HOW = How(command="", bowerbird="", log="", format="", estimand="", model=None, resamples=0, digest="")


def answered(open_log: OpenLog, name: str = "it", **options: Any) -> Answer:
    return evaluate(
        PolicyLogs(PolicyLog(name, open_log)), HOW, Options(**{"model": "none", **options}), lambda _: silent
    )


def open_bandit(path: Path, target: Any = None) -> Answer:
    return answered(lambda wanted, for_target, names=None: OpenBanditLog(log_at(path), target))


class Blocks:
    """A log of weights and rewards, cut somewhere."""

    provides: frozenset[str] = frozenset()

    def __init__(self, weights: Any, rewards: Any, cuts: list[int]) -> None:
        self.names = Names()
        self._columns, self._cuts = (weights, rewards), cuts

    def blocks(self, progress: Progress, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        for index, (start, end) in enumerate(pairwise(self._cuts)):
            weights, rewards = (column[start:end] for column in self._columns)
            yield LogChunk(index, EvaluationRows(reward=rewards, propensity=np.ones(len(rewards)), target=weights))


# ----- by ten lines of numpy


def by_numpy(weights: Any, rewards: Any) -> dict[str, float]:
    return {
        "ips": (weights * rewards).mean(),
        "snips": (weights * rewards).sum() / weights.sum(),
        "ess": weights.sum() ** 2 / (weights**2).sum(),
        "max_weight": weights.max(),
        "value_logged": rewards.mean(),
        "mean_weight": weights.mean(),
    }


def agrees(found: Answer, weights: Any, rewards: Any) -> None:
    expected = by_numpy(np.asarray(weights, dtype=float), np.asarray(rewards, dtype=float))
    for name in FIGURES:
        assert getattr(found, name) == pytest.approx(expected[name], rel=1e-12, abs=1e-12), name
    assert found.rows == len(rewards)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent: BOWERBIRD_TEST_DATA names the folder above it")
@pytest.mark.parametrize("drawn", [False, True], ids=["uniform", "array"])
@pytest.mark.parametrize("name", ["random/all", "random/men", "bts/all", "bts/men"])
def test_real_logs(name: str, drawn: bool) -> None:
    with gzip.open(DATA / name / f"{name.split('/')[1]}.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    item, position = (np.array([int(row[column]) for row in rows]) for column in ("item_id", "position"))
    items = 80 if name.endswith("all") else 34
    target = np.full((items, 3), 1 / items)
    if drawn:
        target = np.random.default_rng(1).dirichlet(np.full(items, 0.3), size=3).T
    propensities = np.array([float(row["propensity_score"]) for row in rows])
    clicks = np.array([float(row["click"]) for row in rows])
    result = open_bandit(DATA / name, target if drawn else None)
    agrees(result, target[item, position - 1] / propensities, clicks)
    assert result.rows == 10_000
    for value, (low, high) in ((result.ips, result.ips_interval), (result.snips, result.snips_interval)):
        assert value is not None
        assert low is not None
        assert high is not None
        assert low <= value <= high


@pytest.mark.parametrize("mean", [1e4, -1e4])
def test_figures_do_not_hang_on_where_the_log_is_cut(mean: float) -> None:
    chance = np.random.default_rng(3)
    weights, rewards = chance.exponential(size=1000) * 50, chance.normal(mean, 1.0, size=1000)
    # What the first rows look like, and whether a reward is negative, is not what the others do.
    rewards[0] = -mean
    whole, cut = (
        answered(lambda wanted, for_target, names=None, cuts=cuts: Blocks(weights, rewards, cuts))
        for cuts in ([0, 1000], [0, 0, 1, 17, 400, 1000, 1000])
    )
    agrees(cut, weights, rewards)
    for name in ("ips_interval", "snips_interval", "value_logged_interval"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), rel=1e-12), name


def test_what_is_unknown_is_null_and_no_infinity() -> None:
    result = answered(lambda wanted, for_target, names=None: Blocks(np.zeros(3), np.ones(3), [0, 3]))
    assert result.snips is None
    assert result.snips_interval == (None, None)
    assert "Infinity" not in json.dumps(msgspec.to_builtins(result))


# ----- hostile logs of the open bandit

HEAD = "item_id,position,click,propensity_score,user-item_affinity_0,user-item_affinity_1\n"
GOOD = "1,1,1,0.5,0.0,0.0\n"


def zipped(text: str, cut: int = 0) -> bytes:
    packed = gzip.compress(text.encode(), mtime=0)
    return packed[: len(packed) - cut]


DAMAGED: list[tuple[str, str, bytes]] = [
    ("no number", "line 3: item_id: found 'x'", (HEAD + GOOD + "x,1,1,0.5,0,0\n").encode()),
    ("no such item", "line 3: item_id: found 2, expected 0 to 1", (HEAD + GOOD + "2,1,1,0.5,0,0\n").encode()),
    ("a negative item", "line 2: item_id: found -1", (HEAD + "-1,1,1,0.5,0,0\n").encode()),
    ("a giant item", "line 2: item_id: found '99999999999999999999'", (HEAD + "9" * 20 + ",1,1,1,0,0\n").encode()),
    ("position 0", "line 2: position: found 0", (HEAD + "1,0,1,0.5,0,0\n").encode()),
    ("a click of 2", "line 2: click: found 2", (HEAD + "1,1,2,0.5,0,0\n").encode()),
    ("no click", "line 2: click: found ''", (HEAD + "1,1,,0.5,0,0\n").encode()),
    ("propensity 0", "propensity_score: found 0.0", (HEAD + "1,1,1,0,0,0\n").encode()),
    ("propensity nan", "propensity_score: found nan", (HEAD + "1,1,1,nan,0,0\n").encode()),
    ("propensity above 1", "propensity_score: found 1.5", (HEAD + "1,1,1,1.5,0,0\n").encode()),
    ("a weight that overflows", "propensity_score: found 1e-320", (HEAD + "1,1,1,1e-320,0,0\n").encode()),
    ("an empty line", "line 3: item_id: found ''", (HEAD + GOOD + "\n" + GOOD).encode()),
    ("far down", "line 200002: click: found 7", (HEAD + GOOD * 200_000 + "1,1,7,0.5,0,0\n").encode()),
    ("a short line", "line 3: found 3 fields, expected 6", (HEAD + GOOD + "1,1,1\n" + GOOD).encode()),
    ("a long line", "line 2: found 7 fields, expected 6", (HEAD + "1,1,1,0.5,0,0,0\n").encode()),
    ("an open quote", "log.csv", (HEAD + '"1,1,1,0.5,0,0\n' + GOOD).encode()),
    ("bytes", "log.csv", HEAD.encode() + GOOD.encode() + b"\xff\xfe\x00,,\n"),
    ("an endless line", "log.csv", HEAD.encode() + b"1" * 3_000_000),
    ("an endless first line", "log.csv", b"a" * 3_000_000),
    ("nothing", "line 1: item_id: found 0 of them", b""),
    ("another table", "line 1: item_id: found 0 of them", b"a,b\n1,2\n"),
    ("a column twice", "line 1: click: found 2 of them", ("click," + HEAD).encode()),
    ("no items", "line 1: user-item_affinity_0", b"item_id,position,click,propensity_score\n1,1,1,1\n"),
    ("no row", "rows: found none at all", HEAD.encode()),
]


@pytest.mark.parametrize(("message", "content"), [each[1:] for each in DAMAGED], ids=[each[0] for each in DAMAGED])
def test_a_damaged_log_is_refused_by_name(tmp_path: Path, message: str, content: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        open_bandit(tmp_path / "log.csv")


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", zipped(HEAD + GOOD * 50_000, cut=50), zipped(HEAD) + b"rest"],
    ids=["nothing", "no gzip", "cut short", "more behind its end"],
)
def test_a_damaged_archive_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.csv.gz").write_bytes(content)
    with pytest.raises(BadInput, match=r"log\.csv\.gz"):
        open_bandit(tmp_path)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="no such file"):
        open_bandit(tmp_path / "nothing.csv")
    with pytest.raises(WrongConfiguration, match="found none, expected one log"):
        open_bandit(tmp_path)
    (tmp_path / "a.csv").write_text(HEAD)
    (tmp_path / "b.csv.gz").write_bytes(zipped(HEAD))
    with pytest.raises(WrongConfiguration, match=r"a\.csv, b\.csv\.gz"):
        open_bandit(tmp_path)


def test_a_log_is_read_in_little_memory(tmp_path: Path) -> None:
    """The text is fifty times as large as what is taken from it at once."""
    with gzip.open(tmp_path / "log.csv.gz", "wt", compresslevel=1) as file:
        file.write(HEAD)
        for _ in range(50):
            file.write(GOOD * 60_000)
    before = pa.total_allocated_bytes()
    seen = 0
    for chunk in OpenBanditLog(log_at(tmp_path)).parts(silent):
        seen += len(chunk.rows)
        assert pa.total_allocated_bytes() - before < 15e6
    assert seen == 3_000_000


# ----- hostile targets


def saved(array: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, array, allow_pickle=True)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def array_bytes() -> bytes:
    file = io.BytesIO()
    np.save(file, np.full((2, 3), 0.5))
    return file.getvalue()


def an_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(2))


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**30)


def header_lies(path: Path) -> None:
    """Ask for a terabyte with a file of a hundred bytes."""
    content = array_bytes()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 9999), }"
    path.write_bytes(content[:10] + header.ljust(len(content) - 10 - 48 - 1) + b"\n" + content[-48:])


HOSTILE_TARGETS: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("objects", "no array", pickled),
    ("text", "no array", lambda path: path.write_text("0.5,0.5")),
    ("nothing", "no array", lambda path: path.write_bytes(b"")),
    ("cut short", "no array", lambda path: path.write_bytes(array_bytes()[:-8])),
    ("a lying header", "no array", header_lies),
    ("an npz", "no array", an_npz),
    ("too large", "bytes, expected at most", sparse),
    ("one dimension", "of shape", saved(np.full(2, 0.5))),
    ("no column", "of shape", saved(np.ones((2, 0)))),
    ("complex", "complex128 of shape", saved(np.full((2, 3), 0.5 + 0j))),
    ("strings", "of shape", saved(np.array([["a"], ["b"]]))),
    ("a wrong sum", "sum 1.2 in column 1", saved(np.array([[0.5, 0.6, 0.5], [0.5, 0.6, 0.5]]))),
    ("negative", "-0.5 for action 1, column 0", saved(np.array([[1.5], [-0.5]]))),
    ("nan", "nan for action 0, column 0", saved(np.array([[np.nan], [1.0]]))),
]


@pytest.mark.parametrize(
    ("message", "make_it"), [each[1:] for each in HOSTILE_TARGETS], ids=[each[0] for each in HOSTILE_TARGETS]
)
def test_a_target_that_is_none_is_refused(tmp_path: Path, message: str, make_it: Callable[[Path], Any]) -> None:
    make_it(tmp_path / "target.npy")
    with pytest.raises(WrongConfiguration, match=f"target.npy: found .*{message}"):
        read_target(tmp_path / "target.npy")


def test_a_target_for_another_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(HEAD + GOOD + "1,2,0,0.5,0,0\n")
    with pytest.raises(WrongConfiguration, match="found 3 actions, expected 2"):
        open_bandit(tmp_path, np.full((3, 3), 1 / 3))
    with pytest.raises(WrongConfiguration, match=r"found 1 column, expected .* line 3 of log\.csv has the position 2"):
        open_bandit(tmp_path, np.full((2, 1), 0.5))


# ----- the archive


@pytest.fixture(scope="module")
def world() -> World:
    return busy_world(120)


def usable(world: World, policy: str = "front", external: bool = False) -> Iterator[tuple[int, Outcome, Any]]:
    for index, outcome in world.outcomes():
        decision = json.loads(bytes(outcome.decision))
        if outcome.policy == policy and outcome.learn and (outcome.policy_version == "external") == external:
            yield world.logs["rewards", 0][index].offset, outcome, decision


def probability(policy: Policy, decision: Any) -> float:
    offered = [decode_action(json.dumps(action).encode(), Limits()) for action in decision["actions"]]
    pmf = pmf_of(policy, decode_context(json.dumps(decision["context"]).encode(), Limits()), offered)
    return pmf[[action.id for action in offered].index(decision["chosen"])]


def evaluated(
    archive: Archive, target: ArchivedPolicy, of: str | None = "front", external: bool = False, **options: Any
) -> Answer:
    def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> OutcomeLog:
        return OutcomeLog(
            ArchivedOutcomes(archive), target if for_target else None, OutcomeOptions(of, external, wanted=wanted)
        )

    return answered(open_log, target.name, **options)


def unknown(name: str) -> PolicyIdentity | None:
    return None


def test_a_sequence_knows_what_rewards_the_rules_of_the_log_allow(tmp_path: Path) -> None:
    archive = archive_of(busy_world(200), tmp_path)
    analyses = evaluated(archive, uniform()).over_time
    # Two clicks are worth 0.6 and none is -0.1: not from 0 to 1, but by the rule from -5 to 5.
    assert analyses[-1].low is not None
    assert analyses[-1].high is not None
    assert -5 <= analyses[-1].low < -0.1 < 0.6 < analyses[-1].high <= 5
    # Somebody who says less than what was seen knows nothing.
    assert {each.low for each in evaluated(archive, uniform(), reward_range=(0.0, 0.1)).over_time} == {None}


@pytest.mark.parametrize(
    "streams",
    [
        {"clicks": StreamReward(weight=0.1, aggregate="mean")},
        {name: StreamReward(weight=weight, aggregate="max") for name, weight in (("a", 0.2), ("b", 0.7), ("c", 0.1))},
    ],
    ids=["a mean of 0.1", "0.2 and 0.7 and 0.1"],
)
def test_a_reward_that_is_rounded_lies_within_what_its_rule_allows(
    tmp_path: Path, streams: dict[str, StreamReward]
) -> None:
    rule = Reward(streams=streams)
    records = [json.loads(encode(outcome)) for _, outcome in busy_world(200).outcomes()]
    for number, record in enumerate(records):
        events = [Event(name, str(event)) for name in streams for event in range(3 * (number % 2))]
        record["reward"] = reward(rule, events)
        record["decision"]["rule"] = {"window_s": 10.0, "reward": msgspec.to_builtins(rule)}
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, records)))

    def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> OutcomeLog:
        return OutcomeLog(
            JsonLines(tmp_path / "log.jsonl"), uniform() if for_target else None, OutcomeOptions("front", wanted=wanted)
        )

    result = answered(open_log)
    assert result.value_logged > 0
    assert result.over_time[-1].low is not None


def test_blocks_with_rules_of_their_own_allow_what_either_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.evaluation.logs.chunk.BLOCK_ROWS", 64)
    records = [json.loads(encode(outcome)) for _, outcome in busy_world(200).outcomes()]
    for number, record in enumerate(records):
        record["reward"] = float(number < 64) * 0.5
        record["decision"]["rule"]["reward"]["clip"] = [0.0, 1.0] if number < 64 else [-3.0, 0.5]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, records)))

    def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> OutcomeLog:
        return OutcomeLog(
            JsonLines(tmp_path / "log.jsonl"), uniform() if for_target else None, OutcomeOptions("front", wanted=wanted)
        )

    blocks = list(open_log({REWARD_RANGE}, False).blocks())
    # No feedback is worth -0.1 by either.
    assert [block.reward_range for block in blocks[:2]] == [(-0.1, 1.0), (-3.0, 0.5)]
    first = answered(open_log).over_time[0]
    assert (first.low, first.high) == (-3.0, 1.0)


def test_decisions_whose_neighbours_still_wait_do_not_count(tmp_path: Path) -> None:
    """Half of the decisions earn a purchase, which closes their window at once: of the last ones those alone."""
    every = [outcome for _, outcome in busy_world(200).outcomes() if outcome.policy == "front" and outcome.learn]
    outcomes = [outcome for outcome in every if outcome.policy_version != "external"]
    lines: list[str] = []
    for seq, outcome in enumerate(outcomes, 1):
        record = json.loads(encode(outcome)) | {"shard": 0, "outcome_seq": seq}
        early = seq % 2 == 0
        if seq > 50 and not early:
            continue
        record |= {"why": "early" if early else "window", "reward": float(early), "outcome_seq": len(lines) + 1}
        record["decision_position"]["time_ms"] = 1_000_000 + seq
        lines.append(json.dumps(record))
    (tmp_path / "log.jsonl").write_text("\n".join(lines))

    def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> OutcomeLog:
        return OutcomeLog(
            JsonLines(tmp_path / "log.jsonl"), uniform() if for_target else None, OutcomeOptions("front", wanted=wanted)
        )

    for model in ("none", "auto"):
        result = answered(open_log, model=model)
        assert result.value_logged == pytest.approx(0.5, abs=0.03)
        assert result.left_out["open"] == len(lines) - result.rows > 3
    log = open_log(OPTIONAL, False)
    (open_finding,) = [each for each in describe(log, "", "").health if each.name == "open"]
    assert open_finding.says.startswith(f"{result.left_out['open']} of {len(lines)} decisions came after the last one")
    young = [line for line in lines if '"early"' in line]
    young = [json.dumps(json.loads(line) | {"outcome_seq": seq}) for seq, line in enumerate(young, 1)]
    (tmp_path / "log.jsonl").write_text("\n".join(young))
    with pytest.raises(BadInput, match=f"found {len(young)} open, .* Evaluate again when window_s has passed since"):
        answered(open_log, model="none")


def test_a_policy_must_be_named_wherever_its_outcomes_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes in a later file is no less there."""
    outcomes = [json.loads(encode(outcome)) for _, outcome in busy_world(200).outcomes() if outcome.policy == "front"]
    other = [record | {"placement": "side", "policy": "side"} for record in outcomes[:20]]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(record) for record in [*outcomes, *other]))
    monkeypatch.setattr("replay.evaluation.logs.json_outcomes.BLOCK_BYTES", 2_000)
    judge = OutcomeLog(JsonLines(tmp_path / "log.jsonl"), uniform())
    with pytest.raises(WrongConfiguration, match="--placement: found none"):
        list(judge.blocks())


def test_the_model_of_a_learners_log_knows_only_the_past(tmp_path: Path) -> None:
    archive = archive_of(arms_world()[0], tmp_path)
    of_learner = evaluated(archive, uniform(), model="action-means")
    assert of_learner.headline == "dr"
    assert of_learner.how.model is not None
    assert "by time, from the past only" in of_learner.how.model
    with pytest.raises(WrongConfiguration, match="--folds: found unit and a log of 3 versions, expected past"):
        evaluated(archive, uniform(), model="auto", folds="unit")
    fixed = evaluated(archive, uniform(), model="action-means", fixed_loggers=True, estimators=("dr",))
    assert fixed.headline == "dr"
    assert fixed.how.model is not None
    assert "by unit" in fixed.how.model


@pytest.mark.parametrize("external", [False, True])
def test_uniform_on_an_archive(world: World, tmp_path: Path, external: bool) -> None:
    result = evaluated(archive_of(world, tmp_path), uniform(), external=external)
    rows = list(usable(world, external=external))
    agrees(result, [1 / 3 / decision["propensity"] for *_, decision in rows], [each.reward for _, each, _ in rows])
    others = Counter[str]()
    for _, outcome in world.outcomes():
        if outcome.policy == "front" and not outcome.learn:
            others[outcome.why] += 1
        elif outcome.policy == "front" and (outcome.policy_version == "external") != external:
            others["own" if external else "external"] += 1
    assert result.left_out == others
    assert set(others) >= {"conflicting", "expired", "not_activated"}


@pytest.mark.parametrize("number", [0, 2, None])
def test_a_version_on_an_archive(world: World, tmp_path: Path, number: int | None) -> None:
    """Rebuilt from the archive it weighs each row as the published bytes do, and it is said what it had seen."""
    wanted = f"front@{number}" if number is not None else "front"
    archive = archive_of(world, tmp_path)
    result = evaluated(archive, archived_policy(archive, wanted, unknown))
    last = len(world.versions) if number is None else number
    policy = make("vw", ARGUMENTS, world.models[last - 1] if last else None)
    rows = list(usable(world))
    weights = [probability(policy, decision) / decision["propensity"] for *_, decision in rows]
    agrees(result, weights, [outcome.reward for _, outcome, _ in rows])
    cut = world.versions[last - 1].cut if last else 0
    assert result.learned == sum(offset < cut for offset, *_ in rows)
    assert (result.learned > 0) == (last > 0)
    if last:
        assert result.target == f"front@{world.versions[last - 1].version}"


def test_a_policy_that_forgets_at_each_publish_is_rebuilt_through_its_cuts(world: World, tmp_path: Path) -> None:
    """Bags keep what is not saved: learned in one go, the last version would be another one."""
    twin = copied(world)
    twin.arguments = "--cb_explore_adf --bag 3"
    twin.publish(5)
    target = archived_policy(archive_of(twin, tmp_path), "front", unknown)
    assert target.policy.dump() == twin.models[-1]


def test_a_policy_that_never_ran_is_judged_by_its_version_0(world: World, tmp_path: Path) -> None:
    archive = archive_of(world, tmp_path)
    identity = PolicyIdentity("vw", "--cb_explore_adf --epsilon 0.5", "front", ("front",))
    target = archived_policy(archive, "bold", lambda name: identity if name == "bold" else None)
    result = evaluated(archive, target)
    rows = list(usable(world))
    policy = make(identity.kind, identity.arguments)
    weights = [probability(policy, decision) / decision["propensity"] for *_, decision in rows]
    agrees(result, weights, [outcome.reward for _, outcome, _ in rows])
    assert result.learned == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("back", "found back, expected uniform, or a policy"),
        ("front@99", "found version 99 of front, expected one that the archive has: 0 to"),
        ("front@x", "found version x of front"),
        ("front@1-00000000", "found version 1-00000000 of front, expected 1-"),
        ("front@0-00000000", "found version 0-00000000 of front, expected 0-"),
    ],
)
def test_a_target_that_the_archive_does_not_have(world: World, tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(WrongConfiguration, match=message):
        archived_policy(archive_of(world, tmp_path), target, unknown)


def test_outcomes_of_several_policies_are_not_mixed(world: World, tmp_path: Path) -> None:
    archive = archive_of(world, tmp_path)
    with pytest.raises(WrongConfiguration, match=r"--placement: found none, expected one of .*front, side"):
        evaluated(archive, uniform(), of=None)
    assert evaluated(archive, uniform(), of="side").rows == len(list(usable(world, "side")))
    with pytest.raises(
        WrongConfiguration, match=r"--placement: found no outcome of back, expected one .*: front, side"
    ):
        evaluated(archive, uniform(), of="back")


def copied(world: World) -> World:
    twin = World(versions=list(world.versions), models=list(world.models))
    for name, log in world.logs.items():
        twin.logs[name] = list(log)
    return twin


def renumbered(messages: Iterable[Any]) -> list[Any]:
    return [message._replace(offset=offset * 2) for offset, message in enumerate(messages)]


def test_a_repeated_outcome_counts_once(world: World, tmp_path: Path) -> None:
    twin = copied(world)
    log = twin.logs["rewards", 0]
    twin.logs["rewards", 0] = renumbered([*log[:40], *log[20:], *log[-3:]])
    once, again = (
        evaluated(archive_of(each, tmp_path / name), uniform()) for each, name in ((world, "1"), (twin, "2"))
    )
    assert again.rows == once.rows
    assert again.ips == pytest.approx(once.ips)
    owners = [outcome.policy for _, outcome in world.outcomes()]
    assert again.left_out["repeats"] == (owners[20:40] + owners[-3:]).count("front")


def test_a_corrected_outcome_is_left_out(world: World, tmp_path: Path) -> None:
    twin = copied(world)
    log = twin.logs["rewards", 0]
    place, outcome, _ = next(usable(world))
    corrected = encode([msgspec.structs.replace(outcome, revision=1, reward=5.0)])
    at = [message.offset for message in log].index(place) + 1
    twin.logs["rewards", 0] = renumbered([*log[:at], log[at]._replace(value=corrected), *log[at:]])
    result = evaluated(archive_of(twin, tmp_path), uniform())
    assert result.left_out["corrections"] == 1
    assert "repeats" not in result.left_out
    assert result.value_logged == pytest.approx(np.mean([each.reward for _, each, _ in usable(world)]))


def test_a_version_that_an_operator_made_uniform_is_judged_as_it_decided(world: World, tmp_path: Path) -> None:
    twin = copied(world)
    last = twin.versions[-1]
    name = version_name(last.number + 1, last.digest)
    twin.versions.append(msgspec.structs.replace(last, number=last.number + 1, version=name, shape=SHAPES["uniform"]))
    archive = archive_of(twin, tmp_path)
    result = evaluated(archive, archived_policy(archive, "front", unknown))
    assert result.target == f"front@{name}"
    assert result.ips == evaluated(archive, uniform()).ips


def test_missing_outcomes_are_a_loss_and_an_archive_that_begins_later_is_none(world: World, tmp_path: Path) -> None:
    log = world.logs["rewards", 0]
    holed = copied(world)
    holed.logs["rewards", 0] = renumbered([*log[:40], *log[60:]])
    with pytest.raises(
        LossDetected, match=r"placement front, shard .* in rewards/day=.*: found seq .* outcomes are missing"
    ):
        evaluated(archive_of(holed, tmp_path / "holed"), uniform())
    beheaded = copied(world)
    beheaded.logs["rewards", 0] = renumbered(log[40:])
    with pytest.raises(LossDetected, match="expected seq 1"):
        evaluated(archive_of(beheaded, tmp_path / "beheaded"), uniform())
    later = copied(world)
    later.logs["rewards", 0] = log[40:]
    archive = archive_of(later, tmp_path / "later")
    result = evaluated(archive, uniform())
    rows = [each for each in usable(world) if each[0] >= log[40].offset]
    agrees(result, [1 / 3 / decision["propensity"] for *_, decision in rows], [each.reward for _, each, _ in rows])
    with pytest.raises(StateRefused, match="the archive does not have all outcomes that it learned"):
        archived_policy(archive, "front", unknown)


# ----- hostile archives

Change = Callable[[dict[str, Any]], None]


def put(column: str, value: Any) -> Change:
    def change(row: dict[str, Any]) -> None:
        row[column] = value

    return change


HOSTILE_ROWS: list[tuple[str, str, Change]] = [
    ("reward null", "reward in archive file rewards/day=.*: found null", put("reward", None)),
    ("reward nan", "reward in archive file rewards/day=.*: found nan", put("reward", float("nan"))),
    ("reward infinite", "reward in archive file rewards/day=.*: found inf", put("reward", float("inf"))),
    ("propensity null", "propensity in archive file rewards/day=.*: found null", put("propensity", None)),
    ("propensity 0", "propensity in archive file rewards/day=.*: found 0.0", put("propensity", 0.0)),
    ("propensity 2", "propensity in archive file rewards/day=.*: found 2.0", put("propensity", 2.0)),
    ("propensity nan", "propensity in archive file rewards/day=.*: found nan", put("propensity", float("nan"))),
    ("pmf null", "pmf in archive file rewards/day=.*: found null", put("pmf", None)),
    ("pmf empty", "pmf in archive file rewards/day=.*: found no action", put("pmf", [])),
    ("policy null", "policy in archive file rewards/day=.*: found null", put("policy", None)),
    ("learn null", "learn in archive file rewards/day=.*: found null", put("learn", None)),
    ("why null", "why in archive file rewards/day=.*: found null", put("why", None)),
    ("seq null", "seq in archive file rewards/day=.*: found null", put("outcome_seq", None)),
]


def damage(folder: Path, change: Change) -> Path:
    """Change the first outcome of `front` that can be used, and write its file again."""
    file = min((folder / "rewards").rglob("*.parquet"))
    table = pq.read_table(file)
    rows = table.to_pylist()
    change(
        next(row for row in rows if row["policy"] == "front" and row["learn"] and row["policy_version"] != "external")
    )
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)
    return file


@pytest.mark.parametrize(
    ("message", "change"), [each[1:] for each in HOSTILE_ROWS], ids=[each[0] for each in HOSTILE_ROWS]
)
def test_a_row_that_no_archive_role_wrote_is_refused(
    world: World, tmp_path: Path, message: str, change: Change
) -> None:
    archive = archive_of(world, tmp_path)
    damage(tmp_path, change)
    with pytest.raises(StateRefused, match=message):
        evaluated(archive, uniform())


@pytest.mark.parametrize("raw", [None, b"", b"{}", b"nonsense", b"{},{}", b"\xff"])
def test_bytes_that_are_no_outcome_are_refused(world: World, tmp_path: Path, raw: bytes | None) -> None:
    archive = archive_of(world, tmp_path)
    damage(tmp_path, put("raw", raw))
    with pytest.raises(StateRefused, match=r"raw in archive file rewards/day=.*: found"):
        evaluated(archive, archived_policy(archive, "front@0", unknown))


def test_bytes_of_two_outcomes_are_no_outcome(world: World, tmp_path: Path) -> None:
    archive = archive_of(world, tmp_path)
    outcome = encode(next(usable(world))[1])
    damage(tmp_path, put("raw", outcome + b"," + outcome))
    with pytest.raises(StateRefused, match="found what is no outcome"):
        evaluated(archive, archived_policy(archive, "front@0", unknown))


def test_features_that_a_policy_refuses_are_counted(world: World, tmp_path: Path) -> None:
    archive = archive_of(world, tmp_path)
    rows = list(usable(world))
    _, outcome, decision = rows[0]
    decision["context"] = {"taste": {"deep": {"er": 1}}}
    changed = msgspec.structs.replace(outcome, decision=msgspec.Raw(json.dumps(decision).encode()))
    damage(tmp_path, put("raw", msgspec.json.encode(changed)))
    result = evaluated(archive, archived_policy(archive, "front@0", unknown))
    assert (result.rows, result.left_out["refused"]) == (len(rows) - 1, 1)
    damage(tmp_path, put("propensity", 1e-30))
    assert evaluated(archive, uniform()).left_out["refused"] == 1


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no parquet at all, although it is called so", b"PAR1" + b"\0" * 100 + b"PAR1"]
)
def test_a_file_that_is_no_parquet_is_refused(world: World, tmp_path: Path, content: bytes) -> None:
    archive = archive_of(world, tmp_path)
    min((tmp_path / "rewards").rglob("*.parquet")).write_bytes(content)
    with pytest.raises(StateRefused, match=r"archive file .*rewards/day="):
        evaluated(archive, uniform())


def test_a_file_that_is_cut_short_or_of_another_kind_is_refused(world: World, tmp_path: Path) -> None:
    archive = archive_of(world, tmp_path)
    file = min((tmp_path / "rewards").rglob("*.parquet"))
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(StateRefused, match="archive file"):
        evaluated(archive, uniform())
    pq.write_table(pa.table({"a": [1]}), file)
    with pytest.raises(StateRefused, match="no column problem"):
        evaluated(archive, uniform())


def test_a_file_that_is_missing_between_others_is_a_loss(world: World, tmp_path: Path) -> None:
    archive = archive_of(world, tmp_path, files=3)
    sorted((tmp_path / "rewards").rglob("*.parquet"))[1].unlink()
    with pytest.raises(LossDetected, match="bring their file back"):
        evaluated(archive, uniform())


def test_an_unreadable_record_is_counted(world: World, tmp_path: Path) -> None:
    twin = copied(world)
    log = twin.logs["rewards", 0]
    twin.logs["rewards", 0] = renumbered([*log[:9], log[9]._replace(value=b"nonsense"), *log[9:]])
    result = evaluated(archive_of(twin, tmp_path), uniform())
    assert result.left_out["unreadable"] == 1
    assert result.rows == len(list(usable(world)))
