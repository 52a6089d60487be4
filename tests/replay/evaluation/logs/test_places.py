"""Ranked lists are judged by place: unbiased by enumeration, and as the estimators of slates have it."""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bowerbird
from archive.hashes import event_hash
from archive.reader import Archive
from bowerbird.fake import FakeLoop
from policies.features import Action, Features
from policies.question import Pick, Pmf, Question, ranked
from policies.registry import make
from policies.single_action import SingleAction
from records.codec import items
from records.errors import BadInput
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.importance import Replay
from replay.evaluation.estimators.slate_rows import Slates
from replay.evaluation.estimators.slates import RewardInteractionSlate
from replay.evaluation.logs.archive import ArchivedOutcomes
from replay.evaluation.logs.chunk import MEAN_PROPENSITY, OPTIONAL
from replay.evaluation.logs.entries import WITH_CONTEXTS, WITHOUT_CONTEXTS
from replay.evaluation.logs.json_outcomes import JsonLines
from replay.evaluation.logs.message_outcomes import MessageOutcomes
from replay.evaluation.logs.outcomes import Judge
from replay.evaluation.logs.predicted import Logger
from replay.evaluation.models.cross_fitting import with_predictions
from replay.evaluation.rows import EvaluationRows
from replay.proof.archived_policy import ArchivedPolicy
from tests.bowerbird.test_lists import CONFIG, visit
from tests.replay.archived import Archivable, write
from tests.replay.evaluation.logs.rows import named, same, together

ACTIONS = ("boots", "hat", "scarf", "gloves")
LOGGED = (0.4, 0.3, 0.2, 0.1)
Shown = tuple[int, ...]


class Fixed(SingleAction):
    """The same pmf always."""

    kind, arguments = "fixed", ""

    def __init__(self, pmf: Sequence[float]) -> None:
        super().__init__()
        self._fixed = list(pmf)

    def pmf(self, context: Features, actions: Sequence[Action]) -> Pmf:
        return self._fixed

    def learn_action(self, *_: Any) -> None:
        raise NotImplementedError

    def dump(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def conditional(pmf: Sequence[float], shown: Shown) -> list[float]:
    """Return the probability of each place's action, given the places before it."""
    left = (1 - math.fsum(pmf[each] for each in shown[:place]) for place in range(len(shown)))
    return [min(1.0, pmf[action] / rest) for action, rest in zip(shown, left, strict=True)]


def outcome(number: int, shown: Shown, rewards: Sequence[float], **changes: Any) -> dict[str, Any]:
    """Return an outcome as `rewards` has it; ``changes`` of its decision."""
    picks = [
        {"action": ACTIONS[action], "propensity": propensity}
        for action, propensity in zip(shown, conditional(LOGGED, shown), strict=True)
    ]
    decision: dict[str, Any] = {
        "v": 1,
        "event_id": f"visit-{number}",
        "placement": "front",
        "policy": "front",
        "policy_version": "1-0",
        "context": {"user": {"age": number % 7}},
        "actions": [{"id": name, "features": {"item": {"kind": name}}} for name in ACTIONS],
        "pmf": LOGGED,
        "chosen": picks[0]["action"],
        "propensity": picks[0]["propensity"],
        "ranking": [pick["action"] for pick in picks],
        "expires_at_ms": 9,
        "rule": {"window_s": 1.0, "early_s": 1.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}},
    }
    if len(shown) > 1:
        decision |= {"top": len(shown), "picks": picks}
    return {
        **{name: decision[name] for name in ("event_id", "placement", "policy", "policy_version")},
        "v": 1,
        "shard": 0,
        "seq": number + 1,
        "places": len(shown),
        "reward": math.fsum(rewards),
        "rewards": list(rewards) if len(shown) > 1 else [],
        "learn": True,
        "why": "window",
        "closed_ms": 2000,
        "decision_place": {
            "time_ms": 1000 + number,
            "topic": "decisions",
            "partition": 0,
            "offset": number,
            "index": 0,
        },
        "feedback": [],
        "decision": decision | changes,
    }


def lines(outcomes: Sequence[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in outcomes))
    return path


def judged(outcomes: Sequence[dict[str, Any]], path: Path, target: Any, **options: Any) -> EvaluationRows:
    return together(Judge(JsonLines(lines(outcomes, path)), target, "front", **options).blocks())


def target_of(pmf: Sequence[float]) -> ArchivedPolicy:
    return ArchivedPolicy("fixed", Fixed(pmf))


UNIFORM = ArchivedPolicy("uniform", make("uniform", ""))


def lists(places: int) -> list[Shown]:
    return list(itertools.permutations(range(len(ACTIONS)), places))


PMFS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=4, max_size=4).filter(lambda each: sum(each) > 0)


@given(weights=PMFS, places=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_mean_over_all_lists_is_what_the_target_earns(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float], places: int, seed: int
) -> None:
    """By enumeration, for rewards that depend on all places above; with a reward model, whatever it says, too."""
    pmf = [each / sum(weights) for each in weights]
    chance = np.random.default_rng(seed)
    worth: dict[Shown, float] = {}
    every = lists(places)
    log = [
        outcome(number, shown, [worth.setdefault(shown[: at + 1], chance.normal()) for at in range(places)])
        for number, shown in enumerate(every)
    ]
    logged = [math.prod(conditional(LOGGED, shown)) for shown in every]
    policy = Fixed(pmf)
    truth = math.fsum(
        _probability(policy, shown) * math.fsum(worth[shown[: at + 1]] for at in range(places)) for shown in every
    )
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    wanted = {*OPTIONAL, WITHOUT_CONTEXTS}
    chunk = next(iter(Judge(JsonLines(lines(log, path)), target_of(pmf), "front", wanted=wanted).blocks()))
    rows = chunk.rows
    assert len(rows) == places * len(every)
    share = np.repeat(logged, places)
    assert math.fsum(share * rows.weight * rows.reward) == pytest.approx(truth, abs=1e-9)
    (entries,) = chunk.entries
    expected: dict[tuple[Shown, int], float] = {}
    predicted = [
        expected.setdefault((shown[:place], action), chance.normal())
        for shown in every
        for place in range(places)
        for action in range(len(ACTIONS))
        if action not in shown[:place]
    ]
    modelled = with_predictions(rows, entries, np.array(predicted))
    terms = DoublyRobust().terms(modelled)
    assert math.fsum(share * (terms["q(pi)"] + terms["w (r - q)"])) == pytest.approx(truth, abs=1e-9)


def _probability(policy: Fixed, shown: Shown) -> float:
    question = Question({}, [Action(name, {}) for name in ACTIONS], ranked(len(shown)))
    picks: list[Pick] = []
    probability = 1.0
    for place, action in enumerate(shown):
        pmf = policy.predict(question, picks)
        probability *= pmf[action]
        picks.append(Pick(place, action, pmf[action]))
    return probability


def test_weights_are_those_of_the_estimators_of_slates(tmp_path: Path) -> None:
    chance = np.random.default_rng(4)
    shown = [lists(3)[index] for index in chance.integers(0, 24, 50)]
    log = [outcome(number, each, chance.normal(size=3).tolist()) for number, each in enumerate(shown)]
    pmf = (0.1, 0.2, 0.3, 0.4)
    rows = judged(log, tmp_path / "log.jsonl", target_of(pmf))
    slates = Slates.of(
        slate=np.repeat(np.arange(50), 3),
        position=np.tile(np.arange(3), 50),
        reward=[reward for each in log for reward in each["rewards"]],
        conditional=(
            [each for one in shown for each in conditional(LOGGED, one)],
            [each for one in shown for each in conditional(pmf, one)],
        ),
    )
    assert slates.weight_cascade is not None
    assert rows.weight == pytest.approx(slates.weight_cascade)
    of_slates = RewardInteractionSlate().terms(slates)["cascade w r"].mean()
    assert (rows.weight * rows.reward).mean() * 3 == pytest.approx(of_slates)


def test_each_place_of_a_list_is_a_row(tmp_path: Path) -> None:
    rows = judged([outcome(0, (2, 0), [0.0, 1.0]), outcome(1, (1,), [5.0])], tmp_path / "log.jsonl", UNIFORM)
    assert rows.reward.tolist() == [0.0, 1.0, 5.0]


def test_every_column_of_a_place(tmp_path: Path) -> None:
    log = [outcome(0, (2, 0, 3), [0.0, 1.0, 2.0]), outcome(1, (1,), [5.0])]
    path, segments = tmp_path / "log.jsonl", ("place", "chosen")
    log_of = Judge(JsonLines(lines(log, path)), UNIFORM, "front", segments=segments)
    chunk = next(iter(log_of.blocks()))
    rows = chunk.rows
    assert rows.reward.tolist() == [0.0, 1.0, 2.0, 5.0]
    assert rows.propensity == pytest.approx([0.2, 0.4 / 0.8, 0.1 / 0.4, 0.3])
    assert rows.target == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1 / 4])
    first, second = 0.25 / 0.2, (1 / 3) / 0.5
    assert rows.prior is not None
    assert rows.prior == pytest.approx([1.0, first, first * second, 1.0])
    assert rows.weight == pytest.approx([first, first * second, first * second * 2, 0.25 / 0.3])
    assert rows.rank is not None
    # Left are boots, hat, gloves; then hat, gloves.
    assert rows.rank == pytest.approx([0.7 + 0.1, 0.25, 0.75 + 0.125, 0.4 + 0.15])
    assert rows.inverse is not None
    assert rows.inverse.tolist() == [4.0, 3.0, 2.0, 4.0]
    assert rows.squared_weight is None
    assert named(rows.segments["place"], log_of.names.segments["place"].names) == ["0", "1", "2", "0"]
    assert named(rows.segments["chosen"], log_of.names.segments["chosen"].names) == ["scarf", "boots", "gloves", "hat"]
    assert named(rows.action, log_of.names.actions.names) == ["scarf", "boots", "gloves", "hat"]
    assert rows.event_hash is not None
    assert rows.event_hash[[0, 3]].tolist() == [event_hash("visit-0"), event_hash("visit-1")]
    assert len(set(rows.event_hash.tolist())) == 4
    assert rows.unit_hash is not None
    assert len(set(rows.unit_hash.tolist())) == 2


def test_a_deterministic_target_matches_a_list_as_far_as_all_places_above_match(tmp_path: Path) -> None:
    log = [outcome(0, (2, 0), [1.0, 1.0]), outcome(1, (0, 1), [1.0, 1.0]), outcome(2, (2, 1), [1.0, 1.0])]
    # After `scarf` has been taken, all that is left has the same probability.
    rows = judged(log, tmp_path / "log.jsonl", target_of((0.0, 0.0, 1.0, 0.0)))
    assert rows.weight == pytest.approx([5.0, 5.0 / 3 / 0.5, 0.0, 0.0, 5.0, 5.0 / 3 / (0.3 / 0.8)])
    assert Replay().terms(rows)["[pi = 1]"].tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    # Where `scarf` was not taken, it is what the target shows at the second place; it is another list all the same.
    later = judged([outcome(0, (0, 2), [1.0, 1.0])], tmp_path / "later.jsonl", target_of((0.0, 0.0, 1.0, 0.0)))
    assert (later.target.tolist(), later.weight.tolist()) == ([0.0, 1.0], [0.0, 0.0])
    assert Replay().terms(later)["[pi = 1]"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("wanted", [WITHOUT_CONTEXTS, WITH_CONTEXTS])
def test_a_model_sees_the_actions_that_are_left(tmp_path: Path, wanted: str) -> None:
    log = [outcome(0, (2, 0, 3), [0.0, 1.0, 2.0]), outcome(1, (1,), [5.0])]
    judge = Judge(JsonLines(lines(log, tmp_path / "log.jsonl")), target_of(LOGGED), "front", wanted={wanted})
    (entries,) = next(iter(judge.blocks())).entries
    ids = [entries.catalogue[code].id for code in entries.action]
    seen = [ids[start:end] for start, end in itertools.pairwise(entries.offsets.tolist())]
    assert seen == [[*ACTIONS], ["boots", "hat", "gloves"], ["hat", "gloves"], [*ACTIONS]]
    assert entries.chosen.tolist() == [2, 0, 1, 1]
    assert entries.reward.tolist() == [0.0, 1.0, 2.0, 5.0]
    assert (entries.contexts is not None) == (wanted == WITH_CONTEXTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"picks": []}, r"decision\.picks: found 0, expected 2, one for each place"),
        (
            {"picks": [{"action": "hat", "propensity": 0.3}] * 2},
            "picks: found 'hat' at place 1, expected the id of exactly",
        ),
        (
            {"picks": [{"action": "hat", "propensity": 0.3}, {"action": "?", "propensity": 0.4}]},
            r"found '\?' at place 1",
        ),
        (
            {"picks": [{"action": "hat", "propensity": 0.3}, {"action": "boots", "propensity": 0.0}]},
            r"picks: found the propensity 0\.0, expected a number above 0",
        ),
        (
            {"picks": [{"action": "hat", "propensity": 0.3}, {"action": "boots", "propensity": 0.9}]},
            r"propensity: found 0\.9, expected 0\.571.*, as the pmf says",
        ),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    log = [outcome(0, (0,), [1.0]), outcome(1, (1, 0), [1.0, 0.0], **changed)]
    with pytest.raises(BadInput, match=message):
        judged(log, tmp_path / "log.jsonl", UNIFORM)


@pytest.mark.parametrize("second", ["hat", "?"])
def test_a_list_that_the_target_cannot_have_shown_is_refused_as_the_learner_does(tmp_path: Path, second: str) -> None:
    picks = [{"action": "hat", "propensity": 0.3}, {"action": second, "propensity": 0.4}]
    log = [outcome(0, (0,), [1.0]), outcome(1, (1, 0), [1.0, 0.0], picks=picks)]
    chunk = next(iter(Judge(JsonLines(lines(log, tmp_path / "log.jsonl")), target_of(LOGGED), "front").blocks()))
    assert (len(chunk.rows), chunk.left_out) == (1, {"refused": 1})


def test_rewards_that_are_not_one_for_each_place_are_refused(tmp_path: Path) -> None:
    wrong = outcome(0, (1, 0), [1.0, 0.0]) | {"rewards": [1.0]}
    with pytest.raises(BadInput, match="rewards: found 1, expected 2, one for each place"):
        judged([wrong], tmp_path / "log.jsonl", target_of(LOGGED))


def test_a_list_with_a_propensity_that_no_learner_takes_is_refused_as_a_whole(tmp_path: Path) -> None:
    tiny = [{"action": "hat", "propensity": 0.3}, {"action": "boots", "propensity": 2.0**-70}]
    log = [outcome(0, (0,), [1.0]), outcome(1, (1, 0), [1.0, 0.0], picks=tiny)]
    judge = Judge(JsonLines(lines(log, tmp_path / "log.jsonl")), target_of(LOGGED), "front")
    chunk = next(iter(judge.blocks()))
    assert (len(chunk.rows), chunk.left_out) == (1, {"refused": 1})


def test_balanced_weights_leave_lists_out_and_name_them(tmp_path: Path) -> None:
    log = [outcome(0, (0,), [1.0]), outcome(1, (1, 0), [1.0, 0.0])]
    path = lines(log, tmp_path / "log.jsonl")
    loggers = [Logger("1-0", Fixed(LOGGED), 1.0)]
    chunk = next(iter(Judge(JsonLines(path), UNIFORM, "front", wanted={MEAN_PROPENSITY}, loggers=loggers).blocks()))
    assert (len(chunk.rows), chunk.left_out) == (1, {"lists": 1})


def test_all_origins_of_lists_are_the_same_log(tmp_path: Path) -> None:
    """A loop in memory, its messages, and its archive."""
    loop = FakeLoop(CONFIG)
    for number in range(40):
        visit(loop, number, top=(None, 2, 3)[number % 3], clicks=["scarf"] if number % 3 else ())
        loop.advance(10)
    messages = loop.messages("rewards")
    outcomes = [json.loads(record) for message in messages for record in items(message.value)]
    assert {each["places"] for each in outcomes} == {1, 2, 3}
    written = [Archivable("rewards", 0, each.offset, each.time_ms, each.value) for each in messages]
    write(tmp_path / "archive", {"rewards": [written[:20], written[20:]]})
    archive = Archive.at(str(tmp_path / "archive"))
    target = ArchivedPolicy("vw", make("vw", "--cb_explore_adf --epsilon 0.5 -q ui"))
    found = [
        together(Judge(source, target, "home", segments=("place", "context.user.none")).blocks())
        for source in (
            JsonLines(lines(outcomes, tmp_path / "log.jsonl")),
            MessageOutcomes(messages),
            ArchivedOutcomes(archive),
        )
    ]
    assert len(found[0]) == sum(each["places"] for each in outcomes)
    same(found[1], found[0])
    same(found[2], found[0])
    answer = bowerbird.evaluate(tmp_path / "log.jsonl", "uniform", placement="home", segments="place")
    assert "of a place" in answer.how.estimand
    assert [each.name for each in answer.segments] == ["0", "1", "2"]
