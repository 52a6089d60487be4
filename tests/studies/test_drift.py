"""The study of drift: its worlds have the truth they claim, and the default covers it where adaptive weights do not."""

import sys
from pathlib import Path

import numpy as np
import pytest

import studies.drift as drift
from studies.adaptive import PAGE
from studies.drift import BEGIN, END, METHODS, RATES, SIZES, TARGET, WORLDS, coverage, main, simulate

BY_NAME = {world.name: world for world in WORLDS}


@pytest.mark.parametrize("world", WORLDS, ids=lambda each: each.name)
def test_the_truth_is_the_average_over_the_period(world: drift.DriftingWorld) -> None:
    rows = 1_000
    log = simulate(world, np.random.default_rng(0), rows)
    rates = world.factor((np.arange(rows) + 0.5) / rows) * RATES
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert log.truth == pytest.approx((np.broadcast_to(rates, (rows, 4)) * TARGET).sum() / rows)
    assert log.judged.squared_weight is not None
    assert log.judged.squared_weight.min() >= 1


def test_logged_rewards_have_the_rates_of_the_world() -> None:
    logs = [simulate(BY_NAME["falling"], np.random.default_rng(seed), 2_000) for seed in range(100)]
    apart = [log.judged.reward.mean() - log.logged for log in logs]
    assert abs(np.mean(apart)) < 4 * np.std(apart) / 10


@pytest.mark.parametrize("world", ["falling", "rising", "one action"])
def test_the_default_covers_where_adaptive_weights_do_not(world: str) -> None:
    found = coverage(BY_NAME[world], 20_000, 60)
    # Binomial(60, .93): fewer than 50 has a probability of 0.004; worlds and seeds are fixed.
    for name in ("with a model", "without", "difference, with a model", "difference, without"):
        assert found[name] >= 50 / 60, name
    assert found["adaptive weights alone"] < 0.6


def test_the_page_has_a_row_for_each_world_and_size() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = page.partition(BEGIN)[2].partition(END)[0]
    for rows in SIZES:
        assert f"**{rows:,} rows**" in written
    for world in WORLDS:
        assert written.count(f"| {world.name}: {world.describe} |") == len(SIZES)
    assert all(f"| {method} |" in written for method in METHODS)


def test_the_table_is_written_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(drift, "PAGE", page)
    monkeypatch.setattr(drift, "SIZES", (500,))
    monkeypatch.setattr(sys, "argv", ["drift", "--repetitions", "2", "--write"])
    main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n2 logs for each world")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert capsys.readouterr().out.strip() in text
