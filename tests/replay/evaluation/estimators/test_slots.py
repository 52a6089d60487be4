"""Slots of slates: what vw-estimators 0.2.2 says of conditional contextual bandits, and laws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput
from replay.evaluation.estimators.importance import InversePropensity
from replay.evaluation.estimators.slate_rows import Slates
from replay.evaluation.estimators.slots import Slots
from replay.evaluation.intervals.cressie_read import CressieRead
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.weighted_sums import WeightedSums
from studies.fixtures.part_vw import SLATES, SLOTS
from tests.replay.evaluation.estimators.obp_logs import said

VW = said("vw")["slots"]
BOUNDED = CressieRead(0.25, 4.0)


def slates(*, named: bool = False) -> Slates:
    lengths = [len(each) for each in SLATES.p_logs]
    return Slates.of(
        slate=np.repeat(np.arange(len(lengths)), lengths),
        position=np.concatenate([np.arange(each) for each in lengths]),
        reward=np.concatenate(SLATES.rewards),
        conditional=(np.concatenate(SLATES.p_logs), np.concatenate(SLATES.p_preds)),
        slot=[SLOTS.index(name) for names in SLATES.slots for name in names] if named else None,
    )


def close(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def ends(interval: Interval) -> list[float | None]:
    return [interval.low, interval.high]


def test_slots_by_their_place_are_those_of_vw() -> None:
    slots = Slots.of(slates())
    assert list(slots.values(BOUNDED, power=True).values()) == close(VW["values by place"])
    found = [ends(each) for each in slots.intervals(BOUNDED, power=True).values()]
    assert found == [close(each) for each in VW["intervals by place"]]
    dropped = Slots.of(slates(), p_drop=0.25)
    found = [ends(each) for each in dropped.intervals().values()]
    assert found == [close(each) for each in VW["intervals by place, dropped"]]
    assert InversePropensity().estimate(slates().first()) == close(VW["first"])


def test_slots_by_their_name_are_those_of_vw() -> None:
    slots = Slots.of(slates(named=True))
    number = {name: SLOTS.index(name) for name in VW["shown"]}
    given_shown = slots.given_shown()
    for name, slot in number.items():
        assert slots.shown()[slot] == close(VW["shown"][name])
        assert given_shown[slot].value == close(VW["given shown"][name])
        assert slots.values()[slot] == close(VW["values"][name])
        assert ends(slots.shown_intervals()[slot]) == close(VW["shown intervals"][name])
        assert ends(given_shown[slot]) == close(VW["given shown intervals"][name])
        assert ends(slots.intervals(share_known=False)[slot]) == close(VW["intervals"][name])
    assert len(number) == 3
    assert slots.overall().value == close(VW["overall"])
    assert ends(slots.overall()) == close(VW["overall interval"])


@given(st.integers(0, 60), st.sampled_from([None, 0.25]))
def test_slates_in_two_parts_have_the_same_sums(cut: int, p_drop: float | None) -> None:
    rows = slates(named=True)
    whole = Slots.of(rows, p_drop=p_drop)
    parts = Slots.of(rows.where(slice(cut)), p_drop=p_drop) + Slots.of(rows.where(slice(cut, None)), p_drop=p_drop)
    assert parts.slates == pytest.approx(whole.slates)
    assert list(parts.sums) == list(whole.sums)
    for slot, sums in whole.sums.items():
        for name in WeightedSums.__slots__:
            assert getattr(parts.sums[slot], name) == pytest.approx(getattr(sums, name))


def test_slates_with_one_slot_are_single_actions() -> None:
    first = slates().first()
    rows = Slates.of(
        slate=np.arange(len(first)),
        position=np.zeros(len(first), dtype=int),
        reward=first.reward,
        conditional=(first.propensity, first.target),
    )
    expected = CressieRead().interval(WeightedSums.of(first.weight, first.reward))
    assert Slots.of(rows).intervals() == {0: expected}


def test_a_share_that_is_not_known_makes_negative_ends_lower() -> None:
    """A loss is the worse the more slates have the slot."""
    rows = Slates.of(
        slate=range(50), position=[0] * 50, reward=[-1.0] * 50, conditional=([0.5] * 50, [0.5] * 50), slot=[0, 1] * 25
    )
    bounds = CressieRead(rmin=-2.0)
    known, unknown = (Slots.of(rows).intervals(bounds, share_known=each)[0] for each in (True, False))
    assert known.low is not None
    assert unknown.low is not None
    assert known.high is not None
    assert unknown.high is not None
    assert unknown.low < known.low
    assert unknown.high > known.high


def test_no_slates_and_slots_that_come_twice() -> None:
    rows = slates()
    nothing = Slots.of(rows.where(slice(0)))
    assert (nothing.slates, nothing.values(), nothing.overall().value) == (0.0, {}, None)
    assert (nothing + Slots.of(rows)).values() == Slots.of(rows).values()
    twice = Slates.of(slate=[1, 1], position=[0, 1], reward=[0, 0], conditional=([1.0, 1.0], [1.0, 1.0]), slot=[3, 3])
    with pytest.raises(BadInput, match="slot"):
        Slots.of(twice)
    with pytest.raises(BadInput, match="weight_cascade"):
        Slots.of(Slates.of(slate=[1], position=[0], reward=[0]))
