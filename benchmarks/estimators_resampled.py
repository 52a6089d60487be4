"""Bootstrap intervals of eleven estimators over a million rows of ten actions, against obp's own."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.obp_peer import NAMES, NUMBERS, install, peer, world
from benchmarks.row import Others, Row, spread
from replay.evaluation.estimators.catalogue import ESTIMATORS
from replay.evaluation.estimators.estimator import Estimator, all_terms
from replay.evaluation.resample import ends, places, resampled
from replay.evaluation.rows import EvaluationRows

ROWS = 1_000_000
RESAMPLES = 10_000
TIMED = 100
"""Resamples that obp is timed at; its time is proportional to their number."""
REPEATS = 3
TOGETHER_BAR, ALONE_BAR = 60.0, 8.0
ALONE = ("ips", "dr")


def run() -> list[Row]:
    """Measure both in turns."""
    estimators: dict[str, Estimator] = {
        name: ESTIMATORS[name](**({"lambda_": NUMBERS[name]} if name in NUMBERS else {})) for name in NAMES
    }
    log, threads = world(ROWS), os.cpu_count() or 1
    others = Others()
    own_s, obp_s = [], []
    alone: dict[str, list[tuple[float, float]]] = {name: [] for name in ALONE}
    with tempfile.TemporaryDirectory() as name:
        install(Path(name))
        # Compiles, or loads what was compiled.
        _resample(list(estimators.values()), world(1000), 64, threads)
        with peer(Path(name), ROWS) as obp:
            for _ in range(REPEATS):
                with others.measured([obp.pid]):
                    began = time.monotonic()
                    found = _resample(list(estimators.values()), log, RESAMPLES, threads)
                    own_s.append(time.monotonic() - began)
                    of_obp = obp.ask(list(NAMES), TIMED)
                    for each in ALONE:
                        began = time.monotonic()
                        _resample([estimators[each]], log, RESAMPLES, threads)
                        alone[each].append((time.monotonic() - began, _seconds(of_obp[each])))
                obp_s.append(sum(map(_seconds, of_obp.values())))
                _agree(found, of_obp)
    ratios = [obp_time / own_time for own_time, obp_time in zip(own_s, obp_s, strict=True)]
    by_one = {each: [obp_time / own_time for own_time, obp_time in times] for each, times in alone.items()}
    worst = min(ALONE, key=lambda each: median(by_one[each]))
    what = f"{RESAMPLES:,} resamples of {ROWS:,} rows, 10 actions"
    timed = f"obp 0.5.7, whose resamples were timed at {TIMED}, on one core as it does"
    bound = f"adding up: products of copies and terms, on {threads} cores"
    return [
        Row(
            f"{len(NAMES)} estimators' bootstrap intervals, {what}",
            timed,
            f">= {TOGETHER_BAR:g} x as fast",
            f"{spread(ratios, 0)} x; {median(own_s):.1f} s against {median(obp_s):.0f} s",
            median(ratios) >= TOGETHER_BAR,
            bound,
            others.median,
        ),
        Row(
            f"one estimator's bootstrap interval ({worst}, of {' and '.join(ALONE)}), {what}",
            timed,
            f">= {ALONE_BAR:g} x as fast",
            f"{spread(by_one[worst], 0)} x; {median(own for own, _ in alone[worst]):.1f} s",
            median(by_one[worst]) >= ALONE_BAR,
            "the copies, and their products with the terms, take about as long",
            others.median,
        ),
    ]


def _resample(
    estimators: Sequence[Estimator], log: dict[str, Any], resamples: int, threads: int
) -> dict[str, tuple[float, float | None, float | None]]:
    """Return each estimator's value and ends, from what obp gets."""
    rows = len(log["reward"])
    at = np.arange(rows), log["action"], 0
    target, model = log["action_dist"], log["estimated_rewards_by_reg_model"]
    judged = EvaluationRows(
        reward=log["reward"],
        propensity=log["pscore"],
        target=target[at],
        model_logged=model[at],
        model_target=np.einsum("rap,rap->r", target, model),
    )
    terms = all_terms(estimators, judged)
    state = resampled(terms, places(0, rows), resamples=resamples, seed=1, threads=threads)
    means = {name: float(column.mean()) for name, column in terms.items()}
    return {each.name: (float(each.value(means)), *ends(state.values(each))) for each in estimators}


def _seconds(times: dict[str, float]) -> float:
    return times["beforehand_s"] + RESAMPLES * times["each_s"]


def _agree(found: dict[str, tuple[float, float | None, float | None]], of_obp: dict[str, dict[str, float]]) -> None:
    """Check that both computed the same: all values, and the ends where obp's are the bootstrap's."""
    for name, (value, low, high) in found.items():
        if abs(value - of_obp[name]["value"]) > 1e-9:
            raise RuntimeError(f"{name}: we say {value}, obp says {of_obp[name]['value']}")
        if name in ("ips", "dm", "dr"):
            width = of_obp[name]["high"] - of_obp[name]["low"]
            if low is None or high is None or abs((high - low) / width - 1) > 0.5:
                raise RuntimeError(f"{name}: we say {low} to {high}, obp says {of_obp[name]}")
