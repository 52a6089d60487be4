"""The picture and the frame for notebooks; drawing leaves nothing behind and warns of nothing."""

import io
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import polars
import pyarrow as pa
import pytest

from records.errors import WrongConfiguration
from replay.evaluation.answer import Answer
from replay.evaluation.report.axis import axis_of, focused
from tests.replay.evaluation.report.answers import ANSWERS, changed, not_reliable, reliable

MAKERS = pytest.mark.parametrize("make", ANSWERS.values(), ids=[name.replace(" ", "-") for name in ANSWERS])


@MAKERS
def test_every_answer_can_be_drawn(make: Callable[[], Answer]) -> None:
    before = dict(mpl.rcParams)
    # As a notebook does.
    assert make().plot()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert dict(mpl.rcParams) == before


def test_the_picture_shows_the_estimates() -> None:
    (axes,) = reliable().plot().axes
    assert [each.get_text() for each in axes.get_yticklabels()] == [
        "dr",
        "ips",
        "snips",
        "sndr",
        "switch-dr",
        "dm",
        "Logged policy",
    ]
    assert axes.get_title(loc="left") == "front@12-0a1b2c3d: reliable"
    drawn = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert [[0.05688 - 0.00149, 7], [0.05688 + 0.00149, 7]] in drawn


def test_names_that_the_font_lacks_and_mathematics_are_plain_text() -> None:
    # The second half is no formula: to read it as one is an error.
    figure = changed(reliable(), target="\u4e2d $\\frac$ \u6587").plot()
    figure.savefig(io.BytesIO(), dpi=40)
    assert figure.axes[0].get_title(loc="left") == "\u25a1 $\\frac$ \u25a1: reliable"


def test_one_estimate_a_row() -> None:
    answer = not_reliable()
    table = answer.frame("arrow")
    assert isinstance(table, pa.Table)
    assert table.to_pylist()[0] == {
        "estimator": "ips",
        "value": 0.131,
        "low": 0.004,
        "high": None,
        "interval": "delta",
        "resampled_low": None,
        "resampled_high": None,
        "reference": "Li et al. 2011",
    }
    in_pandas = answer.frame()
    assert in_pandas.shape == (3, 8)
    assert in_pandas["value"].isna().tolist() == [False, False, True]
    in_polars = answer.frame("polars")
    assert isinstance(in_polars, polars.DataFrame)
    assert in_polars["value"].to_list() == [0.131, 0.1, None]
    none = changed(answer, estimates=[]).frame("polars")
    assert none.shape == (0, 8)
    assert none.schema["value"] == polars.Float64


def test_another_library_is_refused() -> None:
    with pytest.raises(WrongConfiguration, match="found 'spark', expected pandas, polars or arrow"):
        reliable().frame("spark")  # type: ignore[arg-type]


# ----- axes


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None],
        [0.0],
        [3.7],
        [-2.0],
        [1e-300],
        [1e300, -1e300],
        [1.7e308, 5e-324],
        [0.0, 5e-324],
        [1e-323, 1e-310],
        [0.1, 0.1 + 1e-17],
        [1e9, 1e9 + 1e-3],
        [float("inf"), 1.0],
        [float("nan")],
    ],
)
def test_an_axis_of_whatever_there_is(values: list[float | None]) -> None:
    axis = axis_of(values)
    assert axis.low < axis.high
    assert 1 <= len(axis.ticks) <= 8
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert all(axis.inside(tick) or abs(tick) < 1e-300 for tick in axis.ticks)
    labels = [axis.label(tick) for tick in axis.ticks]
    if axis.high - axis.low > 1e-6 * max(abs(axis.low), abs(axis.high)):
        assert len(set(labels)) == len(labels)


def test_what_matters_keeps_its_room() -> None:
    axis = focused([0.04, 0.06], [-500.0, 900.0, None])
    assert axis.at(0.06) - axis.at(0.04) > 30
    beyond = axis.mark(0.05, -500.0, None)
    assert beyond is not None
    assert (beyond.low, beyond.high, beyond.cut_low, beyond.cut_high) == (0.0, 100.0, True, True)
    outside = axis.mark(900.0, 0.05, 900.0)
    assert outside is not None
    assert (outside.value, outside.cut_low, outside.cut_high) == (None, False, True)
    unbounded = axis.mark(None, None, 0.05)
    assert unbounded is not None
    assert (unbounded.low, unbounded.cut_low, unbounded.cut_high) == (0.0, True, False)
    assert axis.mark(None, None, None) is None
