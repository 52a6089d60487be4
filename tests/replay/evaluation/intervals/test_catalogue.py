"""The intervals that can be asked for: each is the one of its own module, and says what it cannot be used on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import bowerbird
from bowerbird.cli import app
from records.errors import WrongConfiguration
from replay.evaluation.answer import Answer
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.intervals import every_row
from replay.evaluation.intervals.asymptotic import asymptotic_of_rows
from replay.evaluation.intervals.bernstein import bernstein
from replay.evaluation.intervals.betting import betting
from replay.evaluation.intervals.catalogue import AUTOMATIC, INTERVALS
from replay.evaluation.intervals.cressie_read import CressieRead
from replay.evaluation.intervals.interval import analyses_at
from replay.evaluation.intervals.saddlepoint import saddlepoint
from replay.evaluation.intervals.weighted_sums import WeightedSums
from replay.evaluation.moments import Moments
from replay.evaluation.over_time import ANALYSES
from replay.evaluation.rows import EvaluationRows

ROOT = Path(__file__).parents[4]
LARGEST = 2.0
IPS, SNIPS = InversePropensity(), SelfNormalised()


def log_of(rows: int = 3000, seed: int = 7, unit_rows: int = 0) -> dict[str, Any]:
    """Return a log of two actions; the target takes the first one in 90 of 100 decisions."""
    chance = np.random.default_rng(seed)
    first = chance.random(rows) < 0.5
    log = {
        "reward": (chance.random(rows) < np.where(first, 0.5, 0.2)).astype(float),
        "propensity": np.full(rows, 0.5),
        "target": np.where(first, 0.9, 0.1),
    }
    return log | ({"unit": np.arange(rows) // unit_rows} if unit_rows else {})


TRUTH = 0.9 * 0.5 + 0.1 * 0.2


def options_of(name: str) -> dict[str, Any]:
    needed = name != AUTOMATIC and INTERVALS[name].weight
    return {"interval": name} | ({"largest_weight": LARGEST} if needed else {})


def found(name: str, log: dict[str, Any], **more: Any) -> Answer:
    answer: Answer = bowerbird.evaluate(log, **(options_of(name) | more))
    return answer


def ends(answer: Answer, estimator: str) -> tuple[Any, Any]:
    (one,) = [each for each in answer.estimates if each.estimator == estimator]
    return one.low, one.high


@pytest.mark.parametrize("name", INTERVALS)
def test_every_interval_contains_the_truth_and_is_named(name: str) -> None:
    """On 20 logs each does at least 17 times. The seeds are fixed."""
    answers = [found(name, log_of(2000, seed, unit_rows=1)) for seed in range(20)]
    for each in answers[0].estimates:
        held = sum(low <= TRUTH <= high for low, high in (ends(answer, each.estimator) for answer in answers))
        assert held >= 17, each.estimator
    last = [answer.over_time[-1] for answer in answers]
    assert sum((each.low or 0.0) <= TRUTH <= (each.high or 1.0) for each in last) >= 17
    assert {answer.how.interval for answer in answers} == {name}
    methods = {each.interval for each in answers[0].estimates} | {answers[0].over_time_interval}
    assert any(name.partition("-")[0] in method.lower() for method in methods)


def test_each_is_the_interval_of_its_own_module() -> None:
    log = log_of()
    rows = EvaluationRows(**log)
    for estimator in (IPS, SNIPS):
        by_hand = saddlepoint(estimator, rows, largest=1.0)
        assert ends(found("saddlepoint", log), estimator.name) == pytest.approx((by_hand.low, by_hand.high), rel=1e-12)
    by_hand = bernstein(IPS, Moments.of(IPS.terms(rows)), low=0.0, high=LARGEST)
    assert ends(found("bernstein", log), "ips") == pytest.approx((by_hand.low, by_hand.high), rel=1e-12)
    by_hand = CressieRead(wmax=LARGEST).interval(WeightedSums.of(rows.weight, rows.reward))
    assert ends(found("cressie-read", log), "mle") == pytest.approx((by_hand.low, by_hand.high), rel=1e-12)
    analyses = analyses_at(len(rows), ANALYSES)
    sequences = {
        "betting": betting(rows, analyses, constant=True),
        "asymptotic": asymptotic_of_rows(IPS, rows, analyses),
    }
    for name, sequence in sequences.items():
        answer = found(name, log)
        assert [analysis.rows for analysis in answer.over_time] == analyses.tolist()
        lows = [-np.inf if analysis.low is None else analysis.low for analysis in answer.over_time]
        assert np.allclose(lows, np.maximum(sequence.low, 0.0), atol=1e-12)


def test_the_order_of_the_rows_is_kept_over_blocks(tmp_path: Path) -> None:
    """A stake depends on all rows before it; the log has more rows than a block."""
    log = log_of(70_000)
    file = tmp_path / "log.parquet"
    pq.write_table(pa.table(log), file)
    answers = [found("asymptotic", log), bowerbird.evaluate(str(file), interval="asymptotic")]
    sequence = asymptotic_of_rows(IPS, EvaluationRows(**log), analyses_at(70_000, ANALYSES))
    for answer in answers:
        assert answer.over_time[-1].low == pytest.approx(sequence.low[-1], rel=1e-12)
        assert answer.over_time[0].low is None or answer.over_time[0].low == pytest.approx(sequence.low[0], rel=1e-12)


def test_the_default_is_as_before() -> None:
    assert bowerbird.evaluate(log_of()) == found(AUTOMATIC, log_of())
    assert {each.interval for each in found(AUTOMATIC, log_of()).estimates} == {"delta"}
    assert ends(found("delta", log_of()), "snips") == ends(found(AUTOMATIC, log_of()), "snips")


REFUSED = {
    "interval: found 'other', expected one of auto, delta": {"interval": "other"},
    "largest weight: found none, expected .* bernstein needs": {"interval": "bernstein"},
    "largest weight: found 3 and interval auto, expected bernstein or cressie-read": {"largest_weight": 3.0},
    "found 1.5 and a row of weight 1.8, expected": {"interval": "bernstein", "largest_weight": 1.5},
    "found 1, expected a finite number above 1": {"interval": "cressie-read", "largest_weight": 1.0},
    "interval clustered: found a log whose rows name no unit": {"interval": "clustered"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused(message: str) -> None:
    with pytest.raises(WrongConfiguration, match=message):
        bowerbird.evaluate(log_of(), **REFUSED[message])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name, method in INTERVALS.items() if method.independent])
def test_rows_of_units_that_return_are_not_taken_as_independent(name: str) -> None:
    with pytest.raises(WrongConfiguration, match=f"interval {name}: found 5.0 decisions of each unit"):
        found(name, log_of(unit_rows=5))


def test_with_units_the_others_are_wider() -> None:
    log = log_of(unit_rows=5)
    log["reward"] = np.repeat(log["reward"][::5], 5)
    clustered, asymptotic = found("clustered", log), found("asymptotic", log)
    assert {each.interval for each in clustered.estimates} == {"clustered"}
    assert asymptotic.over_time_interval == "asymptotic, clustered"
    apart = found("asymptotic", {name: column for name, column in log.items() if name != "unit"})
    widths = [analysis.high - analysis.low for analysis in (asymptotic.over_time[-1], apart.over_time[-1])]  # type: ignore[operator]
    assert widths[0] > 1.3 * widths[1]


@pytest.mark.parametrize("name", [name for name, method in INTERVALS.items() if method.bounded])
def test_rewards_that_nothing_bounds_are_refused_until_a_range_is_given(name: str) -> None:
    log = log_of()
    log["reward"] = 3 * log["reward"] + np.linspace(0, 0.5, len(log["reward"]))
    with pytest.raises(WrongConfiguration, match=f"interval {name}: found a log that does not bound its rewards"):
        found(name, log)
    assert found(name, log, reward_range=(0.0, 4.0)).how.interval == name


@pytest.mark.parametrize("name", [name for name, method in INTERVALS.items() if method.every_row or method.bounded])
def test_sample_weights_are_refused(name: str) -> None:
    with pytest.raises(WrongConfiguration, match=f"interval {name}: found a log with sample weights"):
        found(name, log_of() | {"sample_weight": np.tile([1.0, 2.0], 1500)})


def test_more_rows_than_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_row, "MOST_ROWS", 66_000)
    with pytest.raises(WrongConfiguration, match="found a log of more than 66,000 rows"):
        found("betting", log_of(70_000))


def test_the_command_shows_it_as_text_as_json_and_on_the_page(tmp_path: Path) -> None:
    file, page = tmp_path / "log.parquet", tmp_path / "report.html"
    pq.write_table(pa.table(log_of()), file)
    arguments = ["replay", "evaluate", str(file), "--interval", "betting"]
    shown = CliRunner().invoke(app, [*arguments, "--html", str(page)])
    assert shown.exit_code == 0, shown.output
    assert "interim analyses together (betting): " in " ".join(shown.output.split())
    assert "The band (betting) holds at all times" in page.read_text(encoding="utf-8")
    assert "<dt>Intervals</dt><dd>betting</dd>" in page.read_text(encoding="utf-8")
    document = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert (document["how"]["interval"], document["over_time_interval"]) == ("betting", "betting")
    wrong = CliRunner().invoke(app, [*arguments[:-1], "other"])
    assert wrong.exit_code == 2
    assert "interval: found 'other'" in " ".join(wrong.output.split())


def test_the_page_describes_every_interval() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = (line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `"))
    described = {row[0].strip("`"): row[1] for row in rows if len(row) == 3}
    assert {name: described.get(name) for name in INTERVALS} == {n: method.says for n, method in INTERVALS.items()}
