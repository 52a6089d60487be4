"""Continuous actions: what the Open Bandit Pipeline 0.5.7 and vw-estimators 0.2.2 say, and laws."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.continuous import (
    KERNELS,
    Continuous,
    Discretised,
    KernelDoublyRobust,
    KernelInversePropensity,
    Kernelised,
    KernelSelfNormalised,
)
from replay.evaluation.estimators.estimator import gradient, influence
from replay.evaluation.moments import Moments
from studies.fixtures.part_continuous import LOGS, ContinuousLog
from studies.fixtures.part_vw import CATS, cats_actions
from tests.replay.evaluation.estimators.obp_logs import number, said

OBP, VW = said("continuous"), said("vw")["cats"]
KINDS: tuple[type[Kernelised], ...] = (KernelInversePropensity, KernelSelfNormalised, KernelDoublyRobust)


def continuous(log: ContinuousLog) -> Continuous:
    return Continuous(
        action=log.action,
        target_action=log.target_action,
        density=log.density,
        reward=log.reward,
        model_target=log.model,
    )


@st.composite
def some_rows(draw: st.DrawFn) -> Continuous:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(1, 20))
    return Continuous(
        action=rng.normal(size=rows),
        target_action=rng.normal(size=rows),
        density=rng.uniform(0.05, 2, rows),
        reward=np.asarray(rng.normal(size=rows) if draw(st.booleans()) else rng.integers(0, 2, rows), dtype=np.float64),
        model_target=rng.normal(size=rows),
    )


some_kernels = st.builds(
    lambda kind, kernel, h: kind(kernel, h), st.sampled_from(KINDS), st.sampled_from(list(KERNELS)), st.floats(0.05, 20)
)


@pytest.mark.parametrize("log", LOGS)
def test_values_are_those_of_obp(log: str) -> None:
    rows, compared = continuous(LOGS[log]), 0
    for each in OBP["logs"][log]:
        (kind,) = (kind for kind in KINDS if kind.name == each["name"])
        value, found = number(each["value"]), kind(each["kernel"], each["bandwidth"]).estimate(rows)
        nothing_near = not rows.evaluation_rows(each["kernel"], each["bandwidth"]).weight.any()
        if nothing_near and each["kernel"] == "cosine" and each["name"] == "kernel-snips":
            # Its cosine of a right angle is 6e-17, so what is out of reach has a ratio there.
            assert np.isnan(found)
            continue
        assert found == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), each
        compared += 1
    assert compared >= (33 if log == "apart" else 36)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_is_a_density_that_is_the_same_on_both_sides(kernel: str) -> None:
    density = KERNELS[kernel]
    mass, _ = quad(lambda u: density(np.array(u)), -8, 8, points=[-1, 1])
    assert mass == pytest.approx(1, abs=1e-9)
    distances = np.linspace(0, 3, 31)
    assert density(distances) == pytest.approx(density(-distances))
    assert (density(distances) >= 0).all()
    if kernel != "gaussian":
        assert (density(distances[10:]) == 0).all()
        assert (density(distances[:10]) > 0).all()


@given(some_rows(), some_kernels, st.floats(-5, 5), st.floats(0.1, 10))
def test_the_unit_of_the_action_does_not_matter(
    rows: Continuous, kernel: Kernelised, shift: float, unit: float
) -> None:
    moved = replace(
        rows,
        action=rows.action * unit + shift,
        target_action=rows.target_action * unit + shift,
        density=rows.density / unit,
    )
    other = replace(kernel, bandwidth=kernel.bandwidth * unit)
    same = pytest.approx(kernel.estimate(rows), rel=1e-6, abs=1e-6, nan_ok=True)
    weights = rows.evaluation_rows(kernel.kernel, kernel.bandwidth).weight
    # At the edge of its reach a weight is so small that rounding decides whether there is one.
    if weights.max() > 1e-6:
        assert other.estimate(moved) == same


@given(some_rows(), st.sampled_from(list(KERNELS)))
def test_without_a_model_the_robust_value_is_the_plain_one(rows: Continuous, kernel: str) -> None:
    blind = replace(rows, model_target=np.zeros(len(rows)))
    plain = KernelInversePropensity(kernel, 0.5).estimate(rows)
    assert KernelDoublyRobust(kernel, 0.5).estimate(blind) == pytest.approx(plain)
    known = replace(rows, model_target=rows.reward)
    assert KernelDoublyRobust(kernel, 0.5).estimate(known) == pytest.approx(rows.reward.mean())


@given(some_rows(), st.sampled_from(list(KERNELS)), st.floats(0.05, 20))
def test_the_normalised_value_lies_among_the_rewards(rows: Continuous, kernel: str, bandwidth: float) -> None:
    value = KernelSelfNormalised(kernel, bandwidth).estimate(rows)
    reached = rows.evaluation_rows(kernel, bandwidth).weight > 0
    if reached.any():
        assert rows.reward[reached].min() - 1e-9 <= value <= rows.reward[reached].max() + 1e-9
    else:
        assert np.isnan(value)


@given(some_rows(), some_kernels, st.integers(1, 19))
def test_rows_in_two_parts_have_the_same_value_and_spread(rows: Continuous, kernel: Kernelised, cut: int) -> None:
    parts = [part for part in (rows.where(slice(cut)), rows.where(slice(cut, None))) if len(part)]
    moments = Moments.of(kernel.terms(parts[0]))
    for part in parts[1:]:
        moments = moments + Moments.of(kernel.terms(part))
    assert float(kernel.value(moments.means)) == pytest.approx(kernel.estimate(rows), nan_ok=True, abs=1e-9)
    if np.isfinite(kernel.estimate(rows)):
        slopes = np.array(list(gradient(kernel, moments.means).values()))
        squares = (influence(kernel, rows) ** 2).sum()
        assert slopes @ moments.comoment @ slopes == pytest.approx(squares, rel=1e-6, abs=1e-9)


def test_terms_of_several_bandwidths_go_together() -> None:
    rows = continuous(LOGS["plain"])
    kernels = [KernelSelfNormalised("gaussian", bandwidth) for bandwidth in (0.5, 0.25)]
    together = {name: column.mean() for kernel in kernels for name, column in kernel.terms(rows).items()}
    assert len(together) == 4
    assert [kernel.value(together) for kernel in kernels] == [kernel.estimate(rows) for kernel in kernels]


def test_a_smooth_reward_is_found() -> None:
    """10,000 actions drawn evenly from 0 to 10; the reward is the action's square, the target does 4 throughout."""
    rng = np.random.default_rng(3)
    action = rng.uniform(0, 10, 10_000)
    rows = Continuous(
        action=action,
        target_action=np.full(10_000, 4.0),
        density=np.full(10_000, 0.1),
        reward=action**2 + rng.normal(size=10_000),
    )
    assert KernelSelfNormalised("epanechnikov", 0.5).estimate(rows) == pytest.approx(16, abs=0.5)


def test_the_density_of_cats_is_that_of_vw() -> None:
    policy = Discretised(CATS["num_actions"], CATS["bandwidth"], CATS["min_value"], CATS["max_value"])  # type: ignore[arg-type]
    action, predicted = cats_actions()
    densities = policy.density(action, predicted)
    assert densities == pytest.approx(VW["density"], rel=1e-9)
    assert 5 < np.count_nonzero(densities) < len(densities)
    assert policy.centre([-2.0, -5.0, 12.0]) == pytest.approx([VW["first"], VW["first"], 11.0])


def test_the_density_of_cats_sums_to_one() -> None:
    policy = Discretised(actions=4, bandwidth=3.0, low=0.0, high=8.0)
    middles = (np.arange(80_000) + 0.5) / 10_000
    for predicted in (0.0, 3.9, 8.0):
        assert policy.density(middles, predicted).mean() * 8 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"density": [0.0]}, "wrong_density"),
        ({"density": [-1.0]}, "wrong_density"),
        ({"reward": [np.nan]}, "not_finite"),
        ({"action": [np.inf]}, "not_finite"),
        ({"target_action": [1.0, 2.0]}, "wrong_shape"),
        ({"model_target": [1.0, 2.0]}, "wrong_shape"),
    ],
)
def test_what_cannot_be_a_row_is_refused_by_name(change: dict[str, list[float]], code: str) -> None:
    fine = {"action": [1.0], "target_action": [1.0], "density": [1.0], "reward": [1.0]}
    columns = {name: np.array(values) for name, values in {**fine, **change}.items()}
    with pytest.raises(BadInput, match=next(iter(change))) as refused:
        Continuous(**columns)
    assert refused.value.code == code


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_that_there_is_not_and_a_bandwidth_of_nothing_are_refused(kind: type[Kernelised]) -> None:
    with pytest.raises(WrongConfiguration, match="kernel: found 'box'"):
        kind("box", 1.0)
    for bandwidth in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(WrongConfiguration, match="bandwidth"):
            kind("gaussian", bandwidth)


def test_no_model_and_no_rows_are_refused() -> None:
    rows = continuous(LOGS["plain"])
    with pytest.raises(BadInput, match="model_target"):
        KernelDoublyRobust("gaussian", 1.0).estimate(replace(rows, model_target=None))
    with pytest.raises(BadInput, match="rows"):
        KernelInversePropensity("gaussian", 1.0).estimate(rows.where(slice(0)))
    for wrong in ({"actions": 0}, {"bandwidth": 0.0}, {"low": 1.0}, {"high": np.inf}):
        with pytest.raises(WrongConfiguration, match=next(iter(wrong))):
            Discretised(**{"actions": 2, "bandwidth": 1.0, "low": 0.0, "high": 1.0, **wrong})  # type: ignore[arg-type]
