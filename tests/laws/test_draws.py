"""Law 6: logged propensities are right. The draws' frequencies match the pmf, and two policies draw independently."""

import math
import random
from collections import Counter
from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare, kstest

from policies.density import Density
from policies.draw import choose, choose_value, draw, normalise, normalise_density
from records.errors import StateRefused

DRAWS = 100_000
PMFS = {
    "even": [0.25, 0.25, 0.25, 0.25],
    "epsilon greedy": [0.0125, 0.0125, 0.9625, 0.0125],
    "rare": [0.001, 0.0, 0.01, 0.989],
    "many": normalise([1.0 / (1 + index) for index in range(50)]),
    "pair": [1 / 3, 2 / 3],
}


def sequential() -> Iterator[str]:
    return (f"visit-{number}" for number in range(DRAWS))


def at_random() -> Iterator[str]:
    source = random.Random(6)
    return (f"{source.getrandbits(128):032x}" for _ in range(DRAWS))


@pytest.mark.parametrize("pmf", PMFS.values(), ids=PMFS.keys())
@pytest.mark.parametrize("ids", [sequential, at_random])
def test_law_6_the_frequencies_of_the_draws_match_the_pmf(ids, pmf: list[float]) -> None:
    seen = Counter(choose("front", event_id, pmf) for event_id in ids())
    possible = [index for index, probability in enumerate(pmf) if probability > 0.0]
    assert set(seen) <= set(possible)
    expected = [DRAWS * pmf[index] for index in possible]
    assert chisquare([seen[index] for index in possible], expected).pvalue > 1e-4


@pytest.mark.parametrize("salts", [("front", "search"), ("front", "front2"), ("x" * 65, "x" * 66), ("front", "")])
def test_law_6_the_draws_of_two_salts_are_independent(salts: tuple[str, str]) -> None:
    pmf = [0.5, 0.3, 0.2]
    table = [[0] * 3 for _ in range(3)]
    for event_id in list(sequential())[:30_000]:
        table[choose(salts[0], event_id, pmf)][choose(salts[1], event_id, pmf)] += 1
    assert chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("pmf", [[0.5, 0.3, 0.2], [0.05, 0.8, 0.15], [0.4, 0.1, 0.25, 0.25]])
def test_law_6_rankings_follow_plackett_and_luce(pmf: list[float]) -> None:
    draws = 30_000
    seen = Counter(tuple(draw("front", f"visit-{number}", pmf).ranking) for number in range(draws))
    orders = list(permutations(range(len(pmf))))
    expected = []
    for order in orders:
        probability, left = 1.0, 1.0
        for index in order:
            probability *= pmf[index] / left
            left -= pmf[index]
        expected.append(draws * probability / math.fsum(pmf))
    scale = draws / math.fsum(expected)
    assert chisquare([seen[order] for order in orders], [scale * count for count in expected]).pvalue > 1e-4


@pytest.mark.parametrize("ids", [sequential, at_random])
def test_law_6_the_numbers_drawn_follow_their_density(ids) -> None:
    density = normalise_density([-3.0, -1.0, 0.0, 0.5, 10.0], [1.0, 0.0, 20.0, 0.3])
    values = [choose_value("front", event_id, density) for event_id in ids()]

    def cumulative(value: float) -> float:
        parts = zip(density.edges, density.edges[1:], density.heights, strict=False)
        return sum(height * (min(max(value, below), above) - below) for below, above, height in parts)

    assert kstest(values, np.vectorize(cumulative)).pvalue > 1e-4
    assert not any(-1.0 <= value < 0.0 for value in values)


def test_law_6_the_numbers_of_two_slots_are_independent() -> None:
    density = Density((0.0, 1.0), (1.0,))
    table = [[0] * 3 for _ in range(3)]
    for event_id in list(sequential())[:30_000]:
        first, second = (int(3 * choose_value("front", event_id, density, slot)) for slot in (0, 1))
        table[first][second] += 1
    assert chi2_contingency(table).pvalue > 1e-4


bounded = st.floats(-1e12, 1e12)
densities = st.integers(1, 20).flatmap(
    lambda parts: st.tuples(
        st.lists(bounded, min_size=parts + 1, max_size=parts + 1, unique=True).map(sorted),
        st.lists(st.floats(0, 1e3), min_size=parts, max_size=parts),
    )
)


@given(st.text(max_size=80), st.text(max_size=40), densities)
@example("", "a", ([0.0, 5e-324, 1.0], [1e3, 1e-300]))
def test_a_number_is_drawn_where_its_density_is_above_0(
    salt: str, event_id: str, parts: tuple[list[float], list[float]]
) -> None:
    try:
        density = normalise_density(*parts)
    except StateRefused:
        assert math.fsum(Density(tuple(parts[0]), tuple(parts[1])).masses) == 0.0
        return
    assert math.isclose(math.fsum(density.masses), 1.0)
    value = choose_value(salt, event_id, density)
    assert density.edges[0] <= value < density.edges[-1]
    assert density.at(value) > 0.0
    assert value == choose_value(salt, event_id, density)


@pytest.mark.parametrize(
    ("edges", "heights"),
    [
        ([], []),
        ([0.0], []),
        ([0.0, 1.0], []),
        ([0.0, 1.0], [0.0]),
        ([0.0, 1.0], [-1.0]),
        ([1.0, 0.0], [1.0]),
        ([0.0, 0.0, 1.0], [1.0, 1.0]),
        ([0.0, math.inf], [1.0]),
        ([0.0, 1.0], [math.nan]),
        ([-1e308, 1e308], [1e308]),
    ],
)
def test_a_density_that_cannot_be_drawn_from_is_refused(edges: list[float], heights: list[float]) -> None:
    with pytest.raises(StateRefused, match="weights are spoilt"):
        normalise_density(edges, heights)


pmfs = st.lists(st.floats(0, 1), min_size=1, max_size=60).filter(lambda pmf: sum(pmf) > 0).map(normalise)


@given(st.text(max_size=80), st.text(max_size=40), pmfs)
@example("", "", [0.0, 1.0, 2.225073858507203e-309])
def test_a_draw_is_a_function_of_salt_event_id_and_pmf(salt: str, event_id: str, pmf: list[float]) -> None:
    drawn = draw(salt, event_id, pmf)
    assert drawn == draw(salt, event_id, pmf)
    assert drawn.chosen == drawn.ranking[0] == choose(salt, event_id, pmf)
    assert sorted(drawn.ranking) == list(range(len(pmf)))
    assert pmf[drawn.chosen] > 0.0
    possible = sum(probability > 0.0 for probability in pmf)
    assert all(pmf[index] > 0.0 for index in drawn.ranking[:possible])


def test_the_draw_is_the_documented_one() -> None:
    # Computed by the words of the module's docstring alone; a change of this changes what a log means.
    assert [draw("front", f"visit-{number}", [0.2, 0.5, 0.3]).ranking for number in range(6)] == [
        [0, 2, 1],
        [1, 2, 0],
        [1, 0, 2],
        [1, 2, 0],
        [2, 1, 0],
        [2, 0, 1],
    ]


@given(st.lists(st.floats(-1, 2), min_size=1, max_size=60).filter(lambda pmf: any(value > 0 for value in pmf)))
def test_what_is_drawn_from_is_clipped_and_sums_to_1(predicted: list[float]) -> None:
    pmf = normalise(predicted)
    assert len(pmf) == len(predicted)
    assert all(0.0 <= probability <= 1.0 for probability in pmf)
    assert math.isclose(math.fsum(pmf), 1.0, abs_tol=1e-12)
    assert all(
        (probability > 0.0) >= (given_probability == 0.0)
        for probability, given_probability in zip(predicted, pmf, strict=True)
        if given_probability
    )


@pytest.mark.parametrize("spoilt", [[math.nan, 1.0], [math.inf, 0.0], [0.0, 0.0], [-1.0], []])
def test_spoilt_weights_are_not_drawn_from(spoilt: list[float]) -> None:
    with pytest.raises(StateRefused, match="weights are spoilt"):
        normalise(spoilt)
