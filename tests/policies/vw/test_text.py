"""What goes in comes out of Vowpal Wabbit's own audit: nothing in a name breaks or alters an example."""

import math
import struct
from typing import Any

import pylibvw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies.features import Action, Features
from policies.vw.text import Writer, escape, escape_name, unescape
from records.errors import BadInput
from tests.policies.audit import Auditor

NASTY = [
    "|user:3",
    "é",
    "日本",
    "0",
    "262145",
    "=",
    "a=b",
    "[0]",
    "a[0]",
    "a^b",
    "%",
    "%41",
    "~",
    "'",
    "#",
    "shared",
    "0:1:0.5",
    "-",
    ".5",
    "1e5",
    "😀",
    "|",
    "a:1",
]
NASTY += ["a b", "a\nb", "\r", "\t", "\0", "\x7f", "\u2028", " ", "a" * 128]
texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
numbers = st.floats(-9.9e9, 9.9e9) | st.integers(-(10**9), 10**9)
values = numbers | st.booleans() | texts | st.lists(numbers.map(float), max_size=3) | st.lists(texts, max_size=3)
inside = st.dictionaries(texts, values, max_size=4)


def of_own_letters(features: Features) -> Features:
    """Keep of the namespaces that share a letter one."""
    kept: Features = {}
    letters = set()
    for namespace, inside in sorted(features.items()):
        letter = next((char.lower() for char in namespace if char.isascii() and char.isalpha()), "z")
        if letter not in letters:
            letters.add(letter)
            kept[namespace] = inside
    return kept


features = st.dictionaries(texts, inside, max_size=4).map(of_own_letters)
decisions = st.tuples(features, st.lists(st.builds(Action, texts, features), min_size=1, max_size=4))


@pytest.fixture(scope="module")
def auditor():
    auditor = Auditor()
    yield auditor
    auditor.close()


def as_read(features: Features, upper: bool) -> dict[str, dict[str, Any]]:
    """Say what Vowpal Wabbit must have read, by the words of the module's docstring."""
    by_namespace: dict[str, dict[str, Any]] = {}
    for namespace, inside in features.items():
        letter = next((char.lower() for char in namespace if char.isascii() and char.isalpha()), "z")
        first = letter.upper() if upper else letter
        name = first + namespace[1:] if namespace[0] == letter else f"{first}/{namespace}"
        kept = {feature: read for feature, value in inside.items() if (read := _read(value)) is not None}
        if kept:
            by_namespace[name] = kept
    return by_namespace


def _read(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        kept = {index: read for index, item in enumerate(value) if (read := _read(item)) is not None}
        return kept or None
    if isinstance(value, str):
        return value
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    # Zeros are dropped by Vowpal Wabbit, and six digits are shown.
    return None if abs(single) < 2**-66 else pytest.approx(single, rel=1e-5)


def check(auditor: Auditor, context: Features, actions: list[Action]) -> None:
    read = auditor.read(Writer().example(context, actions))
    assert len(read.actions) == len(actions)
    for shared in read.context:
        assert shared == as_read(context, upper=False)
    for features, action in zip(read.actions, actions, strict=True):
        assert features == as_read(action.features or {"action": {"id": action.id}}, upper=True)


@given(decisions)
@example(({"user": {"|user:3": 1.0, "a b": "c d"}}, [Action("a", {"item": {"x\ny": "0:1:0.5"}}), Action("b", {})]))
@example(({}, [Action("a", {})]))
@example(({"u": {"a": 1e-155, "b": -1e-239, "c": 1e-37, "d": 1e-36}}, [Action("a", {})]))
@example(({"u": {"1": 1e-38, "262145": 2, "01": -0.0}}, [Action("|", {"shared": {"": True}})]))
def test_what_went_in_is_read_back_from_the_audit(auditor: Auditor, decision: tuple[Features, list[Action]]) -> None:
    check(auditor, *decision)


@given(texts)
def test_what_is_escaped_is_safe_and_read_back(text: str) -> None:
    for written in (escape(text), escape_name(text)):
        assert unescape(written) == text
        assert set(written) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-%")
    assert not escape_name(text).isdigit()


def test_names_that_are_numbers_do_not_share_an_index(auditor: Auditor) -> None:
    # 1 and 262145 are the same modulo 2^18, the size of the table.
    read = auditor.read(Writer().example({"f": {"1": 1.0, "262145": 1.0}}, [Action("a", {"g": {"x": 0}})]))
    assert len(set(read.indices.values())) == len(read.indices) == 2


@given(decisions)
def test_the_order_of_features_and_namespaces_is_nothing(decision: tuple[Features, list[Action]]) -> None:
    context, actions = decision
    turned = [Action(action.id, _turned(action.features)) for action in actions]
    assert Writer().example(context, actions) == Writer().example(_turned(context), turned)


def _turned(features: Features) -> Features:
    return {namespace: dict(reversed(inside.items())) for namespace, inside in reversed(features.items())}


def test_the_letter_of_a_namespace_hangs_on_its_name_alone() -> None:
    one = Writer().example({"user": {"a": 1}}, [Action("a", {})])
    more = Writer().example({"user": {"a": 1}, "about": {"b": 1}, "zone": {"c": 1}}, [Action("a", {})])
    assert "|user a:1" in one
    assert "|user a:1" in more


def test_namespaces_of_one_letter_are_refused_until_one_gets_another() -> None:
    context: Features = {"user": {"a": 1}, "url": {"b": 1}}
    with pytest.raises(BadInput, match=r"context\.user.*letter u.*'url'.*--letter user=x.*namespaces_share_letter"):
        Writer().example(context, [Action("a", {})])
    assert Writer({"url": "w"}).example(context, [Action("a", {})]) == ("shared | |w/url b:1 |user a:1\n|Action id=a")
    with pytest.raises(BadInput, match=r"actions\.a7\.user"):
        Writer().example({}, [Action("a7", context)])
    assert Writer({"url": "w"}).example({}, [Action("a7", context)]) == "shared |\n|W/url b:1 |User a:1"


def test_the_form_of_the_text() -> None:
    context: Features = {"user": {"age": 31, "new": True, "tags": ["x y", "z"]}}
    actions = [
        Action("a1", {"item": {"price": 9.5, "brand": "b7"}, "Item2": {}}),
        Action("a2", {"f": {"v": [1.0, 0.25]}}),
    ]
    with pytest.raises(BadInput):
        Writer().example(context, actions)
    actions[0] = Action("a1", {"item": {"price": 9.5, "brand": "b7"}})
    assert Writer().labelled(context, actions, 1, 0.25, -1.0) == (
        "shared |user age:31 new=true tags[0]=x%20y tags[1]=z\n"
        "|Item brand=b7 price:9.5\n"
        "0:-1.0:0.25 |F v[0]:1.0 v[1]:0.25"
    )


def test_an_id_is_a_feature_where_an_action_has_no_other_or_the_arguments_say_so() -> None:
    actions = [Action("a b", {"item": {"x": 1}}), Action("c", {})]
    assert Writer().example({}, actions) == "shared |\n|Item x:1\n|Action id=c"
    assert Writer({"action": "b"}).example({}, [Action("c d", {})]) == "shared |\n|B/action id=c%20d"
    assert Writer(id_as_feature=True).example({}, actions) == "shared |\n|Item x:1 |_ id=a%20b\n|_ id=c"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e10, -1e10, 10**30])
def test_numbers_that_spoil_a_model_are_not_written_whoever_hands_them_over(value: float) -> None:
    for features in ({"u": {"x": value}}, {"u": {"x": [value]}}):
        with pytest.raises(BadInput, match=r"u\.x"):
            Writer().example(features, [Action("a", {})])  # type: ignore[arg-type]
        with pytest.raises(BadInput, match=r"u\.x"):
            Writer().example({}, [Action("a", features)])  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, {"x": 1}, [None], [{}], b"x"])
def test_what_is_no_feature_is_not_written(value: object) -> None:
    with pytest.raises(BadInput, match="feature_invalid"):
        Writer().example({"u": {"x": value}}, [Action("a", {})])  # type: ignore[dict-item]


@given(st.floats(-1e6, 1e6), st.floats(2**-66, 1))
@example(1e-155, 0.5)
@example(-1e-239, 0.5)
@example(5e-324, 1.0)
def test_the_label_is_read_as_it_was_meant(cost: float, propensity: float) -> None:
    workspace = pylibvw.vw(["--cb_explore_adf", "--quiet", "--no_stdin"])
    lines = workspace._parse(Writer().labelled({}, [Action("a", {}), Action("b", {})], 1, propensity, cost))
    assert lines[1].get_cbandits_num_costs() == 0
    assert lines[2].get_cbandits_cost(0) == pytest.approx(cost, rel=1e-6, abs=2**-66)
    assert lines[2].get_cbandits_probability(0) == pytest.approx(propensity, rel=1e-6)
    workspace._finish_example_multi_ex(lines)
    workspace.finish()


@given(st.floats(-9.9e9, 9.9e9))
def test_a_number_is_written_with_the_digits_that_read_back_as_the_same(number: float) -> None:
    written = Writer().example({"u": {"x": number}}, [Action("a", {})]).split("x:")[1].split("\n")[0]
    assert float(written) == (number if abs(number) >= 2**-66 else 0)


def test_the_text_of_known_actions_is_kept_and_bounded() -> None:
    writer = Writer(size=100, max_bytes=5_000)
    known = Action("known", {"item": {"name": "x" * 30}})
    first = writer.example({}, [known])
    for number in range(1000):
        other = Action(f"a{number}", {"item": {"name": f"{number:040d}"}})
        assert writer.example({}, [known, other]).startswith(first)
        assert len(writer._action) <= 100
    texts = writer._action._young | writer._action._old
    assert sum(map(len, texts.values())) <= 5_000


def test_what_is_kept_of_names_is_bounded() -> None:
    writer = Writer()
    for number in range(2000):
        writer.example({"u": {f"name {number}": 1, "x" * (number % 300): 2}}, [Action("a", {})])
        writer.example({"u": {f"name {other}": 1 for other in range(number % 70)}}, [Action("a", {})])
        assert len(writer._plans) <= 500
    assert max(map(len, writer._plans)) <= 50
    assert max(len(name) for names in writer._plans for name in names) <= 128
