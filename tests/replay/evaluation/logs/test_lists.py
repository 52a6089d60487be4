"""Ranked lists are judged by place, or whole: unbiased by enumeration, and as the estimators of slates have it."""

import itertools
import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bowerbird
from archive.reader import Archive
from bowerbird.fake import FakeLoop
from policies.features import Action, Features
from policies.question import Pick, Pmf, Question, pmf_of, ranked
from policies.registry import make
from policies.single_action import SingleAction
from records.codec import items
from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.balanced import BalancedInversePropensity
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.importance import Replay
from replay.evaluation.estimators.slate_rows import Slates
from replay.evaluation.estimators.slates import RewardInteractionSlate, StandardSlate
from replay.evaluation.evaluate import evaluate
from replay.evaluation.intervals.cressie_read import CressieRead
from replay.evaluation.intervals.weighted_sums import WeightedSums
from replay.evaluation.logs import chunk
from replay.evaluation.logs.archive import ArchivedOutcomes
from replay.evaluation.logs.chunk import MEAN_PROPENSITY, REWARD_RANGE, silent
from replay.evaluation.logs.json_outcomes import JsonLines
from replay.evaluation.logs.message_outcomes import MessageOutcomes
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.outcome_selection import OutcomeOptions
from replay.evaluation.logs.outcomes import OutcomeLog
from replay.evaluation.logs.predicted import Logger
from replay.evaluation.options import Options
from replay.evaluation.result import How, Result
from replay.evaluation.rows import EvaluationRows, joined
from replay.evaluation.scan import PolicyLog, PolicyLogs
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
        "outcome_seq": number + 1,
        "places": len(shown),
        "reward": math.fsum(rewards),
        "rewards": list(rewards) if len(shown) > 1 else [],
        "learn": True,
        "why": "window",
        "closed_ms": 2000,
        "decision_position": {
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
    return together(OutcomeLog(JsonLines(lines(outcomes, path)), target, OutcomeOptions("front", **options)).blocks())


def target_of(pmf: Sequence[float]) -> ArchivedPolicy:
    return ArchivedPolicy("fixed", Fixed(pmf))


UNIFORM = ArchivedPolicy("uniform", make("uniform", ""))


def lists(places: int) -> list[Shown]:
    return list(itertools.permutations(range(len(ACTIONS)), places))


PMFS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=4, max_size=4).filter(lambda each: sum(each) > 0)


@given(weights=PMFS, places=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_mean_over_all_whole_lists_is_what_the_target_earns(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float], places: int, seed: int
) -> None:
    """By enumeration, for rewards that depend on the whole list."""
    chance = np.random.default_rng(seed)
    earned = [chance.normal(size=places).tolist() for _ in lists(places)]
    rows, worth, truth = _enumerated(tmp_path_factory, weights, earned, whole_lists=True)
    assert rows.reward == pytest.approx(worth)
    assert math.fsum(rows.propensity * rows.weight * rows.reward) == pytest.approx(truth, abs=1e-9)
    assert math.fsum(rows.propensity) == pytest.approx(1.0)


@given(weights=PMFS, places=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_mean_over_all_lists_by_place_is_what_the_target_earns(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float], places: int, seed: int
) -> None:
    """By enumeration, for rewards that depend on the places above and on no place below."""
    chance = np.random.default_rng(seed)
    earns = {shown[: place + 1]: float(chance.normal()) for shown in lists(places) for place in range(places)}
    earned = [[earns[shown[: place + 1]] for place in range(places)] for shown in lists(places)]
    rows, worth, truth = _enumerated(tmp_path_factory, weights, earned)
    assert math.fsum(rows.propensity * rows.weight * rows.reward) == pytest.approx(truth, abs=1e-9)
    assert math.fsum(rows.propensity * rows.weight) == pytest.approx(1.0)
    assert rows.earned == pytest.approx(worth)
    for alone, reward in zip(earned, rows.reward.tolist(), strict=True):
        assert places * min(alone) <= reward <= places * max(alone)


def _enumerated(
    folders: pytest.TempPathFactory, weights: list[float], earned: list[list[float]], **options: bool
) -> tuple[EvaluationRows, list[float], float]:
    """Return every list once with the rewards of its places, what each is worth, and what the target earns."""
    pmf = [each / sum(weights) for each in weights]
    every = lists(len(earned[0]))
    log = [outcome(number, shown, each) for number, (shown, each) in enumerate(zip(every, earned, strict=True))]
    rows = judged(log, folders.mktemp("log") / "log.jsonl", target_of(pmf), **options)
    worth = [math.fsum(each) for each in earned]
    return rows, worth, _truth(pmf, every, worth)


def _truth(pmf: Sequence[float], every: Sequence[Shown], worth: Sequence[float]) -> float:
    policy = Fixed(pmf)
    return math.fsum(_probability(policy, shown) * each for shown, each in zip(every, worth, strict=True))


def _probability(policy: Fixed, shown: Shown) -> float:
    question = Question({}, [Action(name, {}) for name in ACTIONS], ranked(len(shown)))
    picks: list[Pick] = []
    probability = 1.0
    for place, action in enumerate(shown):
        pmf = pmf_of(policy.predict(question, picks))
        probability *= pmf[action]
        picks.append(Pick(place, action, pmf[action]))
    return probability


@pytest.mark.parametrize("estimator", [StandardSlate(), RewardInteractionSlate()], ids=lambda each: str(each.name))
def test_values_are_those_of_the_estimators_of_slates(tmp_path: Path, estimator: Estimator[Slates]) -> None:
    """Whose numbers are those of obp."""
    chance = np.random.default_rng(4)
    shown = [lists(3)[index] for index in chance.integers(0, 24, 50)]
    log = [outcome(number, each, chance.normal(size=3).tolist()) for number, each in enumerate(shown)]
    pmf = (0.1, 0.2, 0.3, 0.4)
    whole = isinstance(estimator, StandardSlate)
    rows = judged(log, tmp_path / "log.jsonl", target_of(pmf), whole_lists=whole)
    slates = Slates.of(
        slate=np.repeat(np.arange(50), 3),
        position=np.tile(np.arange(3), 50),
        reward=[reward for each in log for reward in each["rewards"]],
        conditional=(
            [each for one in shown for each in conditional(LOGGED, one)],
            [each for one in shown for each in conditional(pmf, one)],
        ),
    )
    (of_slates,) = estimator.terms(slates).values()
    assert rows.weight * rows.reward == pytest.approx(of_slates)
    if whole:
        assert slates.weight is not None
        assert rows.weight == pytest.approx(slates.weight)
    assert rows.earned == pytest.approx(slates.slate_reward)


def test_a_list_is_one_row(tmp_path: Path) -> None:
    log = [outcome(0, (2, 0, 3), [0.0, 1.0, 2.0]), outcome(1, (1,), [5.0])]
    judge = OutcomeLog(JsonLines(lines(log, tmp_path / "log.jsonl")), UNIFORM, OutcomeOptions("front"))
    chunk = next(iter(judge.blocks()))
    rows = chunk.rows
    assert chunk.lists
    assert rows.earned.tolist() == [3.0, 5.0]
    assert rows.propensity == pytest.approx([0.2 * (0.4 / 0.8) * (0.1 / 0.4), 0.3])
    assert rows.target == pytest.approx([1 / 4 / 3 / 2, 1 / 4])
    assert (rows.squared_weight, rows.unseen, rows.inverse, rows.rank) == (None, None, None, None)
    assert named(rows.action, judge.names.actions.names) == ["scarf", "hat"]


NO_LISTS: dict[str, dict[str, Any]] = {
    "no pick": {"decision": {"picks": []}},
    "a pick too few": {"decision": {"picks": [{"action": "hat", "propensity": 0.3}]}},
    "an action twice": {"decision": {"picks": [{"action": "hat", "propensity": 0.3}] * 2}},
    "an unknown action": {
        "decision": {"picks": [{"action": "hat", "propensity": 0.3}, {"action": "?", "propensity": 0.4}]}
    },
    "a propensity of 0": {
        "decision": {"picks": [{"action": "hat", "propensity": 0.3}, {"action": "boots", "propensity": 0.0}]}
    },
    "a propensity that no learner takes": {
        "decision": {"picks": [{"action": "hat", "propensity": 0.3}, {"action": "boots", "propensity": 2.0**-70}]}
    },
    "another action first": {"decision": {"chosen": "boots"}},
    "another propensity first": {"decision": {"propensity": 0.4}},
    "an action without an id": {
        "decision": {"picks": [{"action": "hat", "propensity": 0.3}, {"action": None, "propensity": 0.4}]}
    },
    "a reward too few": {"rewards": [1.0]},
    "a reward that is missing": {"rewards": [1.0, None]},
    "another sum": {"reward": 99.0},
    "rewards of which only the sum is a reward": {"rewards": [1e300, -1e300], "reward": 0.0},
    "no rewards": {"rewards": [], "places": 1},
    "no place": {"places": 0, "rewards": [], "decision": {"picks": []}},
}


@pytest.mark.parametrize("target", ["uniform", "fixed", "itself"])
@pytest.mark.parametrize("case", NO_LISTS)
def test_what_is_no_list_is_refused_whoever_is_judged(tmp_path: Path, case: str, target: str) -> None:
    wrong = dict(NO_LISTS[case])
    log = [outcome(0, (0, 1), [1.0, 0.0]), outcome(1, (1, 0), [1.0, 0.0], **wrong.pop("decision", {})) | wrong]
    policy = {"uniform": UNIFORM, "fixed": target_of(LOGGED), "itself": None}[target]
    chunk = next(
        iter(OutcomeLog(JsonLines(lines(log, tmp_path / "log.jsonl")), policy, OutcomeOptions("front")).blocks())
    )
    assert (len(chunk.rows), chunk.left_out) == (1, {"refused": 1})


@pytest.mark.parametrize("propensity", [0.99, 2.0**-60])
def test_weights_beyond_all_numbers_end_nothing(tmp_path: Path, propensity: float) -> None:
    """Forty places: of a target that never shows such lists, and of lists that were all but never logged."""
    actions = [{"id": str(number)} for number in range(500)]
    picks = [{"action": str(number), "propensity": propensity} for number in range(40)]
    own = {"actions": actions, "pmf": [propensity, *[(1 - propensity) / 499] * 499], "picks": picks}
    one = {"chosen": "0", "propensity": propensity, "ranking": ["0"]}
    log = [outcome(number, (0,), [1.0]) for number in range(30)]
    for each in log:
        each["decision"] |= own | one
        each |= {"places": 40, "rewards": [1.0] + [0.0] * 39}
    path = lines(log, tmp_path / "log.jsonl")
    if propensity < 0.5:
        with pytest.raises(BadInput, match="rows: found 30 refused"):
            bowerbird.evaluate(path, "uniform", placement="front")
    else:
        answer = bowerbird.evaluate(path, "uniform", placement="front", whole_lists=True)
        assert (answer.rows, answer.ips, answer.verdict.level) == (30, 0.0, "not reliable")
        by_place = bowerbird.evaluate(path, "uniform", placement="front")
        assert by_place.ips == pytest.approx(1 / 500 / propensity)
        assert by_place.verdict.level == "not reliable"


def test_a_single_beside_a_list_is_checked_against_its_pmf(tmp_path: Path) -> None:
    log = [outcome(0, (0, 1), [1.0, 0.0]), outcome(1, (1,), [1.0], propensity=0.9)]
    with pytest.raises(BadInput, match=r"line 2: decision.propensity: found 0.9, expected 0.3, as the pmf says"):
        judged(log, tmp_path / "log.jsonl", UNIFORM)


def test_the_range_of_a_list_is_that_of_all_its_places(tmp_path: Path) -> None:
    clipped = {
        "rule": {
            "window_s": 1.0,
            "early_s": 1.0,
            "reward": {"clip": [0.0, 2.0], "streams": {"clicks": {"weight": 1.0}}},
        }
    }
    log = [outcome(0, (0, 1, 2), [1.0, 0.0, 0.0], **clipped), outcome(1, (1,), [1.0], **clipped)]
    judge = OutcomeLog(
        JsonLines(lines(log, tmp_path / "log.jsonl")), UNIFORM, OutcomeOptions("front", wanted={REWARD_RANGE})
    )
    assert next(iter(judge.blocks())).reward_range == (0.0, 6.0)


def test_balanced_weights_are_those_of_whole_lists(tmp_path: Path) -> None:
    shown = (1, 0)
    log = [outcome(0, shown, [1.0, 0.0]), outcome(1, (0,), [1.0], policy_version="2-0") | {"policy_version": "2-0"}]
    log[1]["decision"] |= {"pmf": [0.25] * 4, "propensity": 0.25}
    other = Fixed([0.25] * 4)
    loggers = [Logger("1-0", Fixed(LOGGED), 0.75), Logger("2-0", other, 0.25)]
    wanted = {MEAN_PROPENSITY}
    path = lines(log, tmp_path / "log.jsonl")
    rows = together(
        OutcomeLog(JsonLines(path), UNIFORM, OutcomeOptions("front", wanted=wanted, loggers=loggers)).blocks()
    )
    of_list = 0.75 * math.prod(conditional(LOGGED, shown)) + 0.25 / 4 / 3
    assert rows.mean_propensity == pytest.approx([of_list, 0.75 * 0.4 + 0.25 * 0.25])


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
        together(OutcomeLog(source, target, OutcomeOptions("home", segments=("context.user.none",))).blocks())
        for source in (
            JsonLines(lines(outcomes, tmp_path / "log.jsonl")),
            MessageOutcomes(messages),
            ArchivedOutcomes(archive),
        )
    ]
    assert len(found[0]) == len(outcomes)
    same(found[1], found[0])
    same(found[2], found[0])
    answer = bowerbird.evaluate(tmp_path / "log.jsonl", "uniform", placement="home")
    assert (answer.rows, answer.how.model) == (len(outcomes), None)
    assert any(each.name == "lists" and "weighed place by place" in each.says for each in answer.health)
    whole = bowerbird.evaluate(tmp_path / "log.jsonl", "uniform", placement="home", whole_lists=True, model="none")
    assert any(each.name == "lists" and "weighed as a whole" in each.says for each in whole.health)
    assert whole.value_logged == pytest.approx(answer.value_logged)
    assert whole.ess != pytest.approx(answer.ess)
    with pytest.raises(WrongConfiguration, match="found no reward model, expected a log without ranked lists"):
        bowerbird.evaluate(tmp_path / "log.jsonl", "uniform", placement="home", estimators="dr")
    assert answer.ips == pytest.approx(bowerbird.evaluate(tmp_path / "archive", "uniform", placement="home").ips)
    with pytest.raises(WrongConfiguration, match="--model vw: found ranked lists"):
        bowerbird.evaluate(tmp_path / "log.jsonl", "uniform", placement="home", model="vw")
    as_read = bowerbird.read(tmp_path / "archive")
    with pytest.raises(WrongConfiguration, match="whole_lists: expected none with data in memory"):
        bowerbird.evaluate(as_read, "uniform", whole_lists=True)
    assert bowerbird.evaluate(as_read, "uniform").rows == sum(each["places"] == 1 for each in outcomes)


CLIPPED = {"window_s": 1.0, "early_s": 1.0, "reward": {"clip": [0.0, 1.0], "streams": {"clicks": {"weight": 1.0}}}}
QUALITY = (0.1, 0.3, 0.2, 0.4)
"""How often each of the actions is clicked when it is looked at; nobody looks further down than the first click."""


@pytest.mark.slow
def test_intervals_of_lists_hold_the_truth(tmp_path: Path) -> None:
    """Of 100 logs at least 88: by chance fewer are a case of one in 400 if each holds it 95 times in 100."""
    chance, every, pmf = np.random.default_rng(11), lists(3), (0.1, 0.2, 0.3, 0.4)
    drawn = [math.prod(conditional(LOGGED, shown)) for shown in every]
    truth = math.fsum(math.prod(conditional(pmf, shown)) * _clicked(shown) for shown in every)
    held = {"ips": 0, "snips": 0, "over time": 0}
    for _ in range(100):
        log = []
        for number, index in enumerate(chance.choice(len(every), 600, p=drawn)):
            clicks = chance.random(3) < [QUALITY[action] for action in every[index]]
            first = (clicks & (clicks.cumsum() == 1)).astype(float).tolist()
            log.append(outcome(number, every[index], first, rule=CLIPPED))
        path = lines(log, tmp_path / "log.jsonl")
        answer = _evaluated(pmf, path)
        held["ips"] += _holds(answer.ips_interval, truth)
        held["snips"] += _holds(answer.snips_interval, truth)
        held["over time"] += all(_holds((each.low, each.high), truth) for each in answer.over_time)
    assert min(held.values()) >= 88, held


def _clicked(shown: Shown) -> float:
    return 1 - math.prod(1 - QUALITY[action] for action in shown)


def _holds(ends: tuple[float | None, float | None], truth: float) -> bool:
    return ends[0] is not None and ends[1] is not None and ends[0] <= truth <= ends[1]


def _evaluated(pmf: Sequence[float], path: Path, **options: Any) -> Result:
    def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> OutcomeLog:
        of_log = OutcomeOptions("front", wanted=wanted, names=names, whole_lists=options.get("whole_lists", False))
        return OutcomeLog(JsonLines(path), target_of(pmf) if for_target else None, of_log)

    how = How(command="", bowerbird="", log="", format="", estimand="", model=None, resamples=0, digest="")
    return evaluate(PolicyLogs(PolicyLog("fixed", open_log)), how, Options(**options), lambda _: silent)


RARE = (0.02, 0.03, 0.05, 0.9)
"""A target whose weights are large."""


def _one_click(tmp_path: Path, rule: dict[str, Any], places: int = 3) -> Path:
    """Return a log of 300 lists, of which each has at most one click."""
    chance, every = np.random.default_rng(2), lists(places)
    drawn = [math.prod(conditional(LOGGED, shown)) for shown in every]
    log = []
    for number, index in enumerate(chance.choice(len(every), 300, p=drawn)):
        clicked = chance.integers(0, places + 1)
        log.append(outcome(number, every[index], [float(place == clicked) for place in range(places)], rule=rule))
    return lines(log, tmp_path / "log.jsonl")


def test_a_range_that_is_given_bounds_the_reward_of_a_list(tmp_path: Path) -> None:
    path = _one_click(tmp_path, {})
    answer = _evaluated(RARE, path, reward_range=(0.0, 1.0))
    ends = [(each.low, each.high) for each in answer.estimates] + [(each.low, each.high) for each in answer.over_time]
    assert all(low is not None and high is not None and 0 <= low <= high <= 1 for low, high in ends)
    # Weights by place give rewards of up to 3, which refute nothing.
    assert judged_again(path).reward.max() > 1


def test_what_was_logged_does_not_depend_on_the_target(tmp_path: Path) -> None:
    path = _one_click(tmp_path, {}, places=2)
    answers = [_evaluated(pmf, path, whole_lists=whole) for pmf in (RARE, LOGGED) for whole in (False, True)]
    assert len({(each.value_logged, each.value_logged_interval) for each in answers}) == 1
    assert len({each.statistics["mean_reward"] for each in answers}) == 1


def test_a_reward_that_is_the_same_everywhere_is_told_of_lists_too(tmp_path: Path) -> None:
    chance, every = np.random.default_rng(5), lists(3)
    log = [
        outcome(number, every[number % 24], [5.0 * (place == which) for place in range(3)], rule={})
        for number, which in enumerate(chance.integers(0, 3, 200))
    ]
    answer = _evaluated((0.3, 0.3, 0.2, 0.2), lines(log, tmp_path / "log.jsonl"))
    assert [each.value for each in answer.health if each.name == "constant_reward"] == [5.0]
    assert answer.verdict.level == "not reliable"


@pytest.mark.parametrize("interval", ["betting", "cressie-read", "asymptotic"])
def test_intervals_that_take_every_row_weigh_by_place(tmp_path: Path, interval: str) -> None:
    """A sequence ends with the value of `ips`."""
    path = _one_click(tmp_path, CLIPPED)
    answer = _evaluated(RARE, path, interval=interval)
    if interval == "cressie-read":
        rows = judged_again(path)
        likely = CressieRead(wmax=np.inf, rmin=0.0, rmax=3.0).interval(WeightedSums.of(rows.weight, rows.reward))
        assert [each.value for each in answer.estimates if each.estimator == "mle"] == [likely.value]
    else:
        assert answer.over_time[-1].value == pytest.approx(answer.ips)


def test_a_narrow_range_is_none_of_the_rewards_by_place(tmp_path: Path) -> None:
    """Bets are on rewards within the rules' range, of up to 1 for each place, and not within the one that is given."""
    answer = _evaluated(RARE, _one_click(tmp_path, CLIPPED), interval="betting", reward_range=(0.0, 1.0))
    assert answer.over_time[-1].low is not None
    assert answer.over_time[-1].low > 0


def test_what_is_said_of_the_log_is_said_of_logged_rewards(tmp_path: Path) -> None:
    path = _one_click(tmp_path, CLIPPED)
    by_place, whole = _evaluated(RARE, path), _evaluated(RARE, path, whole_lists=True)
    assert [each.reward for each in by_place.overlap] == [each.reward for each in whole.overlap]
    assert {each.reward for each in by_place.overlap} != {0.0, 1.0}


def test_a_replay_is_of_what_lists_have_earned() -> None:
    certain = EvaluationRows(
        reward=np.array([3.0, 1.0]), propensity=np.ones(2), target=np.ones(2), logged_reward=np.array([2.0, 1.0])
    )
    assert Replay().estimate(certain) == 1.5


def test_balanced_weights_weigh_what_whole_lists_have_earned() -> None:
    half = np.full(2, 0.5)
    rows = EvaluationRows(
        reward=np.array([3.0, 1.0]),
        propensity=half,
        target=half,
        weight=np.array([2.0, 0.5]),
        mean_propensity=np.array([0.25, 0.5]),
        logged_reward=np.array([2.0, 1.0]),
    )
    assert BalancedInversePropensity().estimate(rows) == pytest.approx((2 * 2.0 + 1 * 1.0) / 2)


def test_rows_with_and_without_lists_are_one_log() -> None:
    ones = np.ones(1)
    single = EvaluationRows(reward=np.array([4.0]), propensity=ones, target=ones)
    of_list = EvaluationRows(reward=np.array([3.0]), propensity=ones, target=ones, logged_reward=np.array([2.0]))
    both = joined([single, of_list])
    assert (both.reward.tolist(), both.earned.tolist()) == ([4.0, 3.0], [4.0, 2.0])


def test_lists_in_some_blocks_are_lists_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = [outcome(number, (number % 4,), [1.0]) for number in range(40)]
    log += [outcome(40 + number, (number % 4, (number + 1) % 4), [1.0, number % 2]) for number in range(40)]
    path = lines(log, tmp_path / "log.jsonl")
    whole = _evaluated(RARE, path)
    monkeypatch.setattr(chunk, "BLOCK_ROWS", 30)
    blocks = _evaluated(RARE, path)
    assert any(each.name == "lists" for each in blocks.health)
    assert (blocks.rows, blocks.ips, blocks.snips) == pytest.approx((80, whole.ips, whole.snips))
    assert blocks.value_logged_interval == pytest.approx(whole.value_logged_interval)


def test_a_log_without_lists_is_weighed_in_no_other_way(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("reward,propensity,target\n1,0.5,0.5\n0,0.5,0.5\n")
    with pytest.raises(WrongConfiguration, match="--whole-lists: expected none with --format table"):
        bowerbird.evaluate(path, whole_lists=True)


def judged_again(path: Path) -> EvaluationRows:
    return together(OutcomeLog(JsonLines(path), target_of(RARE), OutcomeOptions("front")).blocks())
