"""The sum of a log's blocks depends on the blocks alone: not on who added which of them, nor on when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.blocks import Blocks, total
from replay.evaluation.moments import Moments


class Bracketed(str):
    """A sum that shows the order of its additions: two of them are never equal by chance."""

    def __add__(self, other: str) -> "Bracketed":
        return Bracketed(f"({self} {other})")


def alone(places: list[int]) -> Blocks[Bracketed]:
    blocks = Blocks[Bracketed]()
    for place in sorted(places):
        blocks.put(place, Bracketed(place))
    return blocks


@st.composite
def dealt(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    """Return places with gaps, and the same ones dealt to some processes in any order."""
    places = draw(st.lists(st.integers(0, 70), unique=True, min_size=1, max_size=40))
    owners = draw(st.lists(st.integers(0, 4), min_size=len(places), max_size=len(places)))
    hands = [[place for place, of in zip(places, owners, strict=True) if of == owner] for owner in range(5)]
    return places, draw(st.permutations(hands))


@given(dealt())
def test_any_partition_in_any_order_is_added_the_same_way(dealt: tuple[list[int], list[list[int]]]) -> None:
    places, hands = dealt
    states = []
    for hand in hands:
        states.append(Blocks[Bracketed]())
        for place in hand:
            states[-1].put(place, Bracketed(place))
    expected = alone(places)
    joint = Blocks[Bracketed]()
    for state in states:
        joint = joint + state
    assert joint.nodes == expected.nodes
    assert total(states) == expected.total()


@given(st.permutations(range(9)), st.lists(st.integers(0, 8), max_size=3))
def test_moments_keep_every_bit(order: list[int], cuts: list[int]) -> None:
    rewards = np.random.default_rng(1).lognormal(size=(9, 50))
    expected, found = Blocks[Moments](), [Blocks[Moments]() for _ in range(len(cuts) + 1)]
    for place in range(9):
        expected.put(place, Moments.of({"r": rewards[place]}))
    for number, place in enumerate(order):
        found[sum(number > cut for cut in cuts)].put(place, Moments.of({"r": rewards[place]}))
    one, many = expected.total(), total(found)
    assert one is not None
    assert many is not None
    assert (one.mean.tobytes(), one.comoment.tobytes()) == (many.mean.tobytes(), many.comoment.tobytes())


def test_the_order_of_additions_shows_in_the_bits() -> None:
    # Otherwise the law above would hold for any sum.
    rewards = np.random.default_rng(1).lognormal(size=(9, 50))
    blocks = Blocks[Moments]()
    for place in range(9):
        blocks.put(place, Moments.of({"r": rewards[place]}))
    in_a_row = Moments.of({"r": rewards[0]})
    for place in range(1, 9):
        in_a_row = in_a_row + Moments.of({"r": rewards[place]})
    summed = blocks.total()
    assert summed is not None
    assert summed.comoment.tobytes() != in_a_row.comoment.tobytes()


def test_what_is_kept_grows_with_the_logarithm() -> None:
    blocks = Blocks[int]()
    for place in range(1000):
        blocks.put(place, place)
        assert len(blocks) <= 10
    assert blocks.total() == sum(range(1000))


def test_of_no_block_there_is_no_sum() -> None:
    assert Blocks[int]().total() is None
    assert total(iter(())) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [([3], [3]), ([0, 1, 2, 3], [2]), ([2], [0, 1, 2, 3]), ([5, 6], [4, 5, 6, 7])],
)
def test_a_block_that_comes_twice_is_refused(left: list[int], right: list[int]) -> None:
    with pytest.raises(ValueError, match="came twice"):
        alone(left) + alone(right)


def test_adding_changes_neither() -> None:
    left, right = alone([0, 3]), alone([1, 2])
    before = left.nodes, right.nodes
    assert len(left + right) == 1
    assert (left.nodes, right.nodes) == before
