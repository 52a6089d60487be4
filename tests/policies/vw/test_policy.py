"""The workspaces: what is saved, what is learned again after an error, and that no example is finished twice."""

import random
from collections import Counter

import psutil
import pytest

import policies.vw.policy
from policies.checks import decisions
from policies.features import Action
from policies.policy import Policy, digest, version_name
from policies.registry import make
from policies.vw import crossing
from records.errors import BadInput, StateRefused
from tests.policies.asking import learn_one, pmf_of

EXACT = ["--epsilon 0.1", "--softmax --lambda 3", "--squarecb -q fF", "--regcb", "--first 5", "--synthcover"]
CASES = decisions(30, seed=1)
PAIR = [Action("a", {"item": {"x": 1}}), Action("b", {"item": {"x": 2}})]


def teach(policy: Policy, cases=CASES) -> None:
    for case in cases:
        learn_one(policy, case.context, case.actions, case.chosen, 1 / len(case.actions), case.reward)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count crossings into C++, and raise at those that a test names by ``calls["raise in ..."]``."""
    counted: Counter[str] = Counter()
    for name in ("_parse", "_learn", "_predict", "_finish"):
        real = getattr(crossing, name)

        def call(workspace, argument, name=name, real=real):
            counted[name] += 1
            made = real(workspace, argument)
            if counted[f"raise in {name}"]:
                counted[f"raise in {name}"] = 0
                raise RuntimeError("something is wrong in C++")
            return made

        monkeypatch.setattr(crossing, name, call)
    return counted


@pytest.mark.parametrize("arguments", EXACT)
@pytest.mark.parametrize("place", ["_parse", "_learn"])
def test_an_example_that_raised_leaves_no_trace(calls: Counter[str], arguments: str, place: str) -> None:
    policy, other = (make("vw", f"--cb_explore_adf {arguments}") for _ in range(2))
    teach(policy, CASES[:10])
    finished = calls["_finish"]
    calls[f"raise in {place}"] = 1
    with pytest.raises(BadInput, match="refused_by_vw"):
        teach(policy, CASES[10:11])
    assert calls["_finish"] == finished, "examples of a call that raised were finished"
    teach(policy, CASES[11:20])
    teach(other, CASES[:10] + CASES[11:20])
    assert policy.dump() == other.dump()


def test_a_prediction_that_raised_leaves_no_trace(calls: Counter[str]) -> None:
    policy, other = (make("vw", "--cb_explore_adf -q fF --squarecb") for _ in range(2))
    for one in (policy, other):
        teach(one)
    calls["raise in _predict"] = 1
    finished = calls["_finish"]
    with pytest.raises(BadInput, match="refused_by_vw"):
        pmf_of(policy, {}, PAIR)
    assert calls["_finish"] == finished
    assert pmf_of(policy, {}, PAIR) == pmf_of(other, {}, PAIR)
    assert policy.dump() == other.dump()


def test_every_example_is_parsed_and_finished_once(calls: Counter[str]) -> None:
    policy = make("vw", "--cb_explore_adf")
    teach(policy)
    for case in CASES:
        pmf_of(policy, case.context, case.actions)
    assert calls["_parse"] == calls["_finish"] == 2 * len(CASES)
    assert (calls["_learn"], calls["_predict"]) == (len(CASES), len(CASES))


def test_what_was_learned_since_the_last_save_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies.vw.policy, "_KEPT_EXAMPLES", 7)
    policy, other = (make("vw", "--cb_explore_adf --softmax") for _ in range(2))
    teach(policy)
    monkeypatch.setattr(policies.vw.policy, "_KEPT_EXAMPLES", 10_000)
    teach(other)
    assert policy.dump() == other.dump()


def test_saving_in_between_changes_nothing_that_is_learned() -> None:
    policy, other = (make("vw", "--cb_explore_adf --bag 3") for _ in range(2))
    for case in CASES:
        teach(policy, [case])
        policy.dump()
    teach(other)
    assert policy.dump() == other.dump()


@pytest.mark.parametrize("arguments", EXACT)
def test_saving_and_loading_in_between_changes_nothing_for_most_explorers(arguments: str) -> None:
    command = f"--cb_explore_adf {arguments}"
    policy, model = make("vw", command), None
    teach(policy)
    for case in CASES:
        step = make("vw", command, model)
        teach(step, [case])
        model = step.dump()
        step.close()
    assert policy.dump() == model


@pytest.mark.parametrize("explorer", ["--bag 3", "--cover 3", "--rnd 3", "--epsilon 0.1"])
def test_a_seed_among_the_arguments_survives_a_load(explorer: str) -> None:
    command = f"--cb_explore_adf {explorer} --random_seed 3"
    first: list[str] = []
    second: list[str] = []
    for digests in (first, second):
        model = None
        for start in range(0, 30, 10):
            policy = make("vw", command, model)
            teach(policy, CASES[start : start + 10])
            model = policy.dump()
            digests.append(digest(model))
    assert first == second
    assert len(set(first)) == 3


def test_it_learns() -> None:
    # The action whose topic is the visit's taste is worth a click.
    policy = make("vw", "--cb_explore_adf --epsilon 0.1 -q fF")
    before = value(policy)
    teach(policy, decisions(3000, seed=2))
    assert value(policy) > 2 * before


def value(policy: Policy) -> float:
    total = 0.0
    for case in (cases := decisions(100, seed=3)):
        pmf = pmf_of(policy, case.context, case.actions)
        taste = case.context["f"]["taste"]
        total += sum(p for p, action in zip(pmf, case.actions, strict=True) if action.features["f"]["topic"] == taste)
    return total / len(cases)


def test_a_higher_reward_is_preferred() -> None:
    policy = make("vw", "--cb_explore_adf --epsilon 0.2 --id_as_feature")
    for number in range(200):
        learn_one(policy, {}, PAIR, number % 2, 0.5, 1.0 if number % 2 else 0.0)
    assert pmf_of(policy, {}, PAIR) == pytest.approx([0.1, 0.9])


def test_the_logged_propensity_is_what_counts() -> None:
    models = set()
    for propensity in (0.5, 0.1):
        policy = make("vw", "--cb_explore_adf --cb_type ips")
        learn_one(policy, {}, PAIR, 0, propensity, 1.0)
        models.add(policy.dump())
    assert len(models) == 2


@pytest.mark.parametrize("model", [b"", b"garbage", b"\0" * 1000, b"\xff" * 1000])
def test_a_model_that_cannot_be_loaded_is_refused(model: bytes) -> None:
    with pytest.raises(StateRefused, match="cannot be loaded"):
        make("vw", "--cb_explore_adf", model)
    with pytest.raises(StateRefused, match="another"):
        make("uniform", "", model)


def test_versions_are_named_by_number_and_digest() -> None:
    model = make("vw", "--cb_explore_adf").dump()
    assert version_name(0, digest(model)) == f"0-{digest(model)[:8]}"
    assert model == make("vw", "--cb_explore_adf").dump() == make("vw", "--cb_explore_adf", model).dump()


def test_nothing_is_left_behind_on_the_disk_or_in_memory(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    process = psutil.Process()
    opened = process.num_fds()
    model = None
    sizes = []
    for _ in range(60):
        policy = make("vw", "--cb_explore_adf -b 20", model)
        teach(policy, CASES[:3])
        pmf_of(policy, {}, PAIR)
        model = policy.dump()
        policy.close()
        sizes.append(process.memory_info().rss)
    assert list(tmp_path.iterdir()) == []
    assert process.num_fds() == opened
    assert sizes[-1] - sizes[20] < 20 * 2**20, "a workspace of 16 MB is lost each time"


@pytest.mark.parametrize("arguments", ["--cb_explore_adf --epsilon 0.1 -q uA", "--cb_explore_adf --epsilon 0.2"])
def test_an_action_that_brings_nothing_but_its_id_is_learned_by_its_id(arguments: str) -> None:
    policy, chance = make("vw", arguments), random.Random(1)
    actions = [Action("boots", {}), Action("hat", {})]
    worth = {"boots": 0.9, "hat": 0.05}
    for _ in range(350):
        pmf = pmf_of(policy, {"user": {"age": 34}}, actions)
        chosen = chance.choices(range(2), pmf)[0]
        reward = float(chance.random() < worth[actions[chosen].id])
        learn_one(policy, {"user": {"age": 34}}, actions, chosen, pmf[chosen], reward)
    assert pmf_of(policy, {"user": {"age": 34}}, actions)[0] > 0.85


def test_ids_are_crossed_with_the_context_as_the_arguments_say() -> None:
    chance = random.Random(1)
    actions = [Action("boots", {}), Action("hat", {})]
    crossed, plain = (make("vw", f"--cb_explore_adf --epsilon 0.2 {more}") for more in ("-q uA", ""))
    for _ in range(400):
        city, chosen = chance.choice(["Lyon", "Nice"]), chance.randrange(2)
        reward = float((city == "Lyon") == (chosen == 0))
        for policy in (crossed, plain):
            learn_one(policy, {"user": {"city": city}}, actions, chosen, 0.5, reward)
    for city, liked in (("Lyon", 0), ("Nice", 1)):
        assert pmf_of(crossed, {"user": {"city": city}}, actions)[liked] > 0.85
    assert pmf_of(plain, {"user": {"city": "Lyon"}}, actions) == pmf_of(plain, {"user": {"city": "Nice"}}, actions)
