"""Laws of every reward model, and that each learns."""

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from river import linear_model, optim, preprocessing
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import SGDRegressor

from policies.features import Action, Features
from records.errors import BadInput, StateRefused, WrongConfiguration
from replay.evaluation.models.action_means import ActionMeans, Constant
from replay.evaluation.models.catalogue import MODELS, make
from replay.evaluation.models.hashed import Hasher, flat
from replay.evaluation.models.model import Fitted, RewardModel
from replay.evaluation.models.river_model import River
from replay.evaluation.models.rows import Decided, ModelRows, rows_of, rows_of_catalogue
from replay.evaluation.models.scikit_learn import Hashed, RidgeRegression, ScikitLearn
from replay.evaluation.models.vowpal_wabbit import VowpalWabbit, _Lines
from tests.replay.evaluation.models.worlds import ACTIONS, world

FEATURED = [name for name in MODELS if name not in ("constant", "action-means")]


@pytest.fixture(scope="module")
def taught() -> dict[str, RewardModel]:
    rows, _, _ = world(1, 3000)
    models = {name: make(name) for name in MODELS}
    for model in models.values():
        model.learn(rows)
    return models


def error(model: RewardModel, rows: ModelRows, mean: Any) -> float:
    return float(((model.predict(rows) - mean) ** 2).mean())


# ----- learning


@pytest.mark.parametrize("name", FEATURED)
def test_each_beats_the_mean(name: str, taught: dict[str, RewardModel]) -> None:
    """The best action depends on the context, which means per action cannot represent."""
    rows, _, mean = world(2, 1000)
    assert error(taught[name], rows, mean) < 0.5 * error(taught["constant"], rows, mean)


@pytest.mark.parametrize("name", [name for name in FEATURED if name != "logistic"])
def test_rewards_may_be_any_numbers(name: str) -> None:
    rows, _, _ = world(1, 3000, binary=False)
    test, _, mean = world(2, 1000)
    model, constant = make(name), Constant()
    model.learn(rows)
    constant.learn(rows)
    assert error(model, test, mean) < 0.1 * error(constant, test, mean)


def test_means_by_action_and_segment() -> None:
    catalogue = [Action("a", {}), Action("b", {}), Action("never", {})]
    action, segment = [0, 0, 0, 0, 1, 1], np.array([0, 0, 1, 1, 0, 1], dtype=np.int32)
    rows = rows_of_catalogue(catalogue, action, [1, 1, 1, 0, 0, 0], segment=segment)
    model = ActionMeans(prior_rows=2)
    model.learn(rows)
    mean, a, b = 0.5, (3 + 1) / 6, 1 / 4
    expected = [(2 + 2 * a) / 4, (0 + 2 * b) / 3, mean, (1 + 2 * a) / 4, (0 + 2 * b) / 3, mean]
    np.testing.assert_allclose(model.predict(rows)[[0, 1, 2, 6, 7, 8]], expected, rtol=1e-14)
    elsewhere = rows_of_catalogue(catalogue, [0], [0], segment=np.array([9], dtype=np.int32))
    np.testing.assert_allclose(model.predict(elsewhere), [a, b, mean], rtol=1e-14)


def test_means_know_an_action_by_its_id_in_any_catalogue() -> None:
    model = ActionMeans()
    for catalogue, action in (([Action("a", {}), Action("b", {})], 0), ([Action("b", {}), Action("a", {})], 1)):
        model.learn(rows_of_catalogue(catalogue, [action] * 10, [1] * 10))
    model.learn(rows_of_catalogue([Action("b", {})], [0] * 20, [0] * 20))
    np.testing.assert_allclose(model.predict(rows_of_catalogue([Action("a", {})], [0], [0])), [25 / 30])


def test_means_are_bounded_in_number() -> None:
    catalogue = [Action(str(each), {}) for each in range(100)]
    rows = rows_of_catalogue(catalogue, range(100), [0.0] * 50 + [1.0] * 50)
    model = ActionMeans(prior_rows=1, most=60)
    model.learn(rows)
    predicted = model.predict(rows)[:100]
    np.testing.assert_allclose(predicted[:50], 0.25)
    assert sorted({round(each, 2) for each in predicted[50:]}) == [0.5, 0.75]
    assert (predicted[50:] == 0.75).sum() == 10


# ----- laws


@pytest.mark.parametrize("name", MODELS)
def test_before_the_first_row_it_says_nothing(name: str) -> None:
    rows, _, _ = world(1, 10)
    model = make(name)
    assert not model.predict(rows).any()
    model.learn(rows.part(0, 0))
    assert not model.predict(rows).any()
    assert len(model.predict(rows.part(0, 0))) == 0


@pytest.mark.parametrize("name", MODELS)
def test_no_rows_are_predicted_too(name: str, taught: dict[str, RewardModel]) -> None:
    rows, _, _ = world(1, 10)
    assert len(taught[name].predict(rows.part(0, 0))) == 0


@pytest.mark.parametrize("name", MODELS)
def test_one_reward_alone_is_what_it_says(name: str) -> None:
    rows, _, _ = world(1, 10)
    model = make(name)
    model.learn(rows.where(rows.reward == 1))
    assert (model.predict(rows) == 1).all()


@pytest.mark.parametrize("name", MODELS)
def test_predictions_lie_within_the_rewards(name: str, taught: dict[str, RewardModel]) -> None:
    rows, _, _ = world(3, 500)
    predicted = taught[name].predict(rows)
    assert predicted.shape == rows.action.shape
    assert predicted.dtype == np.float64
    assert predicted.min() >= 0
    assert predicted.max() <= 1


@pytest.mark.parametrize("name", MODELS)
def test_how_the_log_is_cut_makes_no_difference(name: str) -> None:
    rows, _, _ = world(1, 400)
    whole, cut = make(name), make(name)
    whole.learn(rows)
    for start in range(0, 400, 150):
        cut.learn(rows.part(start, min(start + 150, 400)))
    np.testing.assert_allclose(cut.predict(rows), whole.predict(rows), rtol=1e-12, atol=1e-12)
    parts = [whole.predict(rows.part(start, start + 100)) for start in range(0, 400, 100)]
    np.testing.assert_allclose(np.concatenate(parts), whole.predict(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_fitted_learns_nothing_more(name: str) -> None:
    rows, _, _ = world(1, 400)
    model, never_asked = make(name), make(name)
    model.learn(rows.part(0, 200))
    never_asked.learn(rows.part(0, 200))
    fitted = model.fitted()
    before = fitted.predict(rows)
    model.learn(rows.part(200, 400))
    never_asked.learn(rows.part(200, 400))
    np.testing.assert_array_equal(fitted.predict(rows), before)
    if name != "constant":
        assert not np.array_equal(model.predict(rows), before)
    np.testing.assert_array_equal(never_asked.predict(rows), model.predict(rows))


@pytest.mark.parametrize("name", MODELS)
def test_a_pickle_predicts_the_same(name: str, taught: dict[str, RewardModel]) -> None:
    rows, _, _ = world(3, 100)
    predicted = taught[name].predict(rows)
    again = pickle.loads(pickle.dumps(taught[name].fitted()))
    np.testing.assert_array_equal(again.predict(rows), predicted)


@pytest.mark.parametrize("name", MODELS)
def test_logs_without_contexts_are_learned(name: str) -> None:
    chance = np.random.default_rng(1)
    action = chance.integers(0, 3, 1000)
    rows = rows_of_catalogue(ACTIONS, action, (chance.random(1000) < np.array([0.1, 0.5, 0.9])[action]).astype(float))
    model = make(name)
    model.learn(rows)
    predicted = model.predict(rows)[:3]
    if name != "constant":
        np.testing.assert_allclose(predicted, [0.1, 0.5, 0.9], atol=0.1)
    assert (model.predict(rows).reshape(-1, 3) == predicted).all()


@pytest.mark.parametrize(
    ("name", "package", "module"),
    [("ridge", "scikit-learn 1", "sklearn"), ("river", "River 0", "river"), ("vw", "Vowpal Wabbit 9", "")],
)
def test_the_answer_can_say_what_computed_it(
    name: str, package: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert package in make(name).text
    if module:
        monkeypatch.setitem(sys.modules, module, None)
        for known in [each for each in sys.modules if each.startswith("replay.evaluation.models.")]:
            monkeypatch.delitem(sys.modules, known)
        with pytest.raises(WrongConfiguration, match=rf"{module} is not installed: pip install 'bowerbird\[models\]'"):
            make(name)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(WrongConfiguration, match="found 'oracle', expected one of constant, action-means, ridge"):
        make("oracle")


@pytest.mark.parametrize(
    "made",
    [
        lambda: ActionMeans(prior_rows=0),
        lambda: VowpalWabbit(bits=0),
        lambda: VowpalWabbit(learning_rate=float("nan")),
    ],
)
def test_arguments_out_of_range_are_refused(made: Any) -> None:
    with pytest.raises(WrongConfiguration, match="found"):
        made()


# ----- scikit-learn and River as such


def test_of_a_long_log_it_keeps_a_sample() -> None:
    rows, _, _ = world(1, 3000)
    whole, sampled, again = (RidgeRegression(options=Hashed(most_rows=rows)) for rows in (50_000, 500, 500))
    for start in range(0, 3000, 100):
        sampled.learn(rows.part(start, start + 100))
        assert len(sampled._kept.reward) <= 500 * 1.5 + 100
    for model in (whole, again):
        model.learn(rows)
    np.testing.assert_array_equal(sampled.predict(rows), again.predict(rows))
    assert len(sampled._kept.reward) == 500
    test, _, mean = world(2, 500)
    assert error(whole, test, mean) < error(sampled, test, mean) < 0.01
    other = RidgeRegression(options=Hashed(most_rows=500, seed=1))
    other.learn(rows)
    assert not np.array_equal(other.predict(rows), sampled.predict(rows))


def test_the_sample_is_one_of_all_rows_alike() -> None:
    """Each tenth of the log is in a sample of a fifth as often as any other, to four standard errors."""
    rows = rows_of_catalogue([Action("a", {})], [0] * 1000, np.arange(1000) / 1000)
    counts = np.zeros(10)
    for seed in range(20):
        model = ScikitLearn(DummyRegressor, Hashed(bits=1, most_rows=200, seed=seed))
        for start in range(0, 1000, 50):
            model.learn(rows.part(start, start + 50))
        model.predict(rows.part(0, 1))
        counts += np.bincount((model._kept.reward * 10).astype(int), minlength=10)
    assert (np.abs(counts - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5).all()


@pytest.mark.parametrize(
    "made",
    [lambda: make("logistic"), lambda: River(linear_model.LogisticRegression)],
    ids=["scikit-learn", "River"],
)
def test_a_classifier_refuses_other_rewards_than_0_and_1(made: Any) -> None:
    rows = rows_of_catalogue([Action("a", {})], [0, 0], [1.0, 0.5])
    with pytest.raises(BadInput, match=r"reward\[1\]: found 0.5, expected 0 or 1, for .* is a classifier"):
        made().learn(rows)


def test_rivers_own_classifiers_learn() -> None:
    rows, _, _ = world(1, 2000)
    model = River(lambda: preprocessing.MaxAbsScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.1)))
    constant = Constant()
    model.learn(rows)
    constant.learn(rows)
    test, _, mean = world(2, 500)
    assert error(model, test, mean) < 0.5 * error(constant, test, mean)


def test_a_model_that_diverged_is_refused() -> None:
    rows, _, _ = world(1, 10)
    fitted = Fitted(lambda some: np.full(len(some.action), np.nan), 0.0, 1.0, "mad")
    with pytest.raises(StateRefused, match="reward model mad: found a prediction that is no number"):
        fitted.predict(rows)


def test_any_regressor_will_do() -> None:
    rows, _, _ = world(1, 500)
    model = ScikitLearn(lambda: SGDRegressor(random_state=0, max_iter=20, tol=None, eta0=1e-4), Hashed(bits=10))
    model.learn(rows)
    assert np.isfinite(model.predict(rows)).all()


# ----- hostile features


HOSTILE = "a|b:3 c=d\n0:1 |e"


@pytest.mark.parametrize("name", MODELS)
def test_hostile_names_are_features_like_others(name: str) -> None:
    """Names that hold a text format's signs are told apart from those they try to pass for."""
    honest: Features = {"user": {"a": 1.0}, "e": {"x": 1.0}}
    hostile: Features = {"user": {HOSTILE: 1.0, "x\u2028y": HOSTILE}, "weird|name": {" ": True, ":": "\0"}}
    actions = [Action(HOSTILE, {"item|": {"\t": HOSTILE}}), Action("a", {})]
    decisions = [Decided(hostile, actions, 0, 1.0), Decided(honest, actions, 1, 0.0)] * 100
    model = make(name)
    rows = rows_of(decisions)
    model.learn(rows)
    predicted = model.predict(rows)[rows.logged]
    if name != "constant":
        assert predicted[0] > 0.75
        assert predicted[1] < 0.25


def test_what_vowpal_wabbit_reads_is_escaped_and_one_line_an_entry() -> None:
    context: Features = {"user": {HOSTILE: 1.0, "x\u2028y": HOSTILE}, "url": {" ": True}, "a.b": {"c": 1.0}}
    actions = [Action(HOSTILE, {"item|": {"\t": HOSTILE}}), Action("a", {})]
    lines = list(_Lines().of(rows_of([Decided(context, actions, 0, 1.0), Decided({}, actions, 0, 1.0)]), range(4)))
    assert len(lines) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_.%:=|/ \[\]-]*", line) for line in lines)
    assert lines[1].endswith(" |_ id=a")
    assert " a%252Eb.c:1" in lines[0]
    assert lines[3] == "| |_ id=a"


def test_escaped_texts_cannot_pass_for_each_other() -> None:
    one = flat({"a|b": {"c": 1.0}}, "context")
    other = flat({"a": {"b|c": 1.0}}, "context")
    third = flat({"a": {"b": "c|c"}}, "context")
    texts = [*one, *other, *third, *flat({"a": {"b=c%7Cc": 1.0}}, "context")]
    assert texts == ["a%7Cb|c", "a|b%7Cc", "a|b=c%7Cc", "a|b%3Dc%257Cc"]


@pytest.mark.parametrize("name", FEATURED)
@pytest.mark.parametrize(
    ("value", "field"),
    [
        (float("nan"), "user.age"),
        (float("inf"), "user.age"),
        (1e30, "user.age"),
        ({"deep": 1}, "user.age"),
        ([1.0, float("nan")], "user.age[1]"),
        ([None], "user.age[0]"),
    ],
    ids=["nan", "infinite", "large", "object", "list", "null"],
)
def test_what_is_no_feature_is_refused_by_name(
    name: str, value: Any, field: str, taught: dict[str, RewardModel]
) -> None:
    features: Any = {"user": {"age": value}}
    rows = rows_of([Decided(features, ACTIONS, 0, 1.0)])
    with pytest.raises(BadInput) as refused:
        make(name).learn(rows)
    assert refused.value.field.endswith(field)
    with pytest.raises(BadInput):
        taught[name].predict(rows)


@pytest.mark.parametrize("name", FEATURED)
def test_an_actions_features_are_refused_by_its_id(name: str) -> None:
    rows = rows_of([Decided({}, [Action("a7", {"item": {"price": float("nan")}})], 0, 1.0)])
    with pytest.raises(BadInput) as refused:
        make(name).learn(rows)
    assert "item.price" in refused.value.field
    if name != "vw":
        assert refused.value.field == "actions.a7.item.price"


# ----- hashing


def test_the_matrix_is_the_sum_of_the_features_by_hand() -> None:
    """Every feature, and every pair, is in the column of its own hash with the product of the values."""
    context: Features = {"user": {"age": 3.0, "kind": "fan"}}
    action = Action("a", {"item": {"price": 2.0}})
    rows = rows_of([Decided({}, [action], 0, 0.0), Decided(context, [Action("b", {}), action], 1, 0.0)])
    hasher = Hasher(bits=20)
    alone = hasher.matrix(rows_of([Decided({}, [action], 0, 0.0)])).toarray()[0]
    assert sorted(alone[alone != 0]) == [1.0, 2.0]
    found = hasher.matrix(rows).toarray()
    assert found.shape == (3, 2**20)
    np.testing.assert_array_equal(found[0], alone)
    assert sorted(found[2][found[2] != 0]) == sorted([3.0, 1.0, 1.0, 2.0, 3.0, 6.0, 1.0, 2.0])
    np.testing.assert_array_equal(hasher.matrix(rows, np.array([2])).toarray()[0], found[2])
    plain = Hasher(bits=20, crossed=False).matrix(rows).toarray()
    assert sorted(plain[2][plain[2] != 0]) == [1.0, 1.0, 2.0, 3.0]


# ----- the page


def test_the_page_names_every_model_and_its_example_runs() -> None:
    page = (Path(__file__).parents[4] / "docs" / "reward-models.md").read_text(encoding="utf-8")
    for name in MODELS:
        assert f"| `{name}` |" in page
    rows, evaluation_rows, _ = world(1, 100)
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    known = {
        "first_ms": 0,
        "last_ms": 99_000,
        "read": lambda: [rows],
        "read_again": lambda: [(evaluation_rows, rows)],
    }
    exec(example, known)
    assert known["evaluation_rows"].model_target.shape == (100,)  # type: ignore[attr-defined]
