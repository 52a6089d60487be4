"""Errors say all they know in one sentence; what is kept is bounded."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from policies.bounded_cache import BoundedCache
from records.errors import BadInput, LossDetected, StateRefused


def test_an_error_names_field_found_expected_and_code() -> None:
    error = BadInput("feature_not_finite", "context.user.age", "inf", "a finite number")
    assert str(error) == "context.user.age: found inf, expected a finite number (feature_not_finite)"
    assert (error.code, error.field, error.message) == (
        "feature_not_finite",
        "context.user.age",
        str(error).removesuffix(" (feature_not_finite)"),
    )


def test_an_error_is_bounded_whatever_was_found() -> None:
    error = BadInput("x", "f" * 100_000, "v" * 100_000, "less")
    assert len(str(error)) < 300


def test_errors_pass_between_processes() -> None:
    for error in (BadInput("a", "b", "c", "d"), LossDetected("a", "b", "c", "d"), StateRefused("a", "b", "c", "d")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans())), st.integers(1, 12), st.integers(1, 60))
def test_what_is_kept_is_right_and_bounded(steps: list[tuple[int, bool]], max_items: int, max_weight: int) -> None:
    recent: BoundedCache[int, str] = BoundedCache(str, lambda number, text: number, max_items, max_weight)
    for number, together in steps:
        if together:
            assert recent.many([number, number + 1]) == [str(number), str(number + 1)]
        else:
            assert recent(number) == str(number)
        assert len(recent) <= max(2, max_items)
        kept = recent._young.keys() | recent._old.keys()
        assert sum(kept) <= max(1, max_weight)


def test_what_is_used_again_stays_the_same_object() -> None:
    recent: BoundedCache[int, object] = BoundedCache(lambda number: object(), lambda number, made: 1, 10, 1000)
    first = recent(0)
    for number in range(1, 100):
        assert recent(0) is first
        recent(number)
