"""What the terminal says, on 80 columns, without colours, and where there is nothing but ASCII."""

import io
from collections.abc import Callable

import msgspec
import pytest
from rich.console import Console

from replay.evaluation.answer import Answer
from replay.evaluation.report import words
from replay.evaluation.report.page import html
from replay.evaluation.report.table import show
from replay.evaluation.result import Finding
from tests.replay.evaluation.report.answers import (
    ANSWERS,
    changed,
    hostile,
    not_reliable,
    one_row,
    open_question,
    reliable,
)


def shown(answer: Answer, *, width: int = 80, encoding: str = "utf-8", colour: bool = False) -> str:
    raw = io.BytesIO()
    # Errors are strict: what the terminal cannot write ends the command.
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    console = Console(file=file, width=width, force_terminal=colour, color_system="truecolor" if colour else None)
    show(answer, console)
    file.flush()
    return raw.getvalue().decode(encoding)


def lines(answer: Answer, width: int = 200) -> list[str]:
    return [line.rstrip() for line in shown(answer, width=width).splitlines()]


def test_the_ends_by_the_bootstrap_are_shown_where_it_was_asked_for() -> None:
    (line,) = [line for line in lines(reliable()) if line.startswith("By the bootstrap: ")]
    assert "snips 0." in line
    without = [msgspec.structs.replace(each, resampled_low=None, resampled_high=None) for each in reliable().estimates]
    assert not any("bootstrap:" in line for line in lines(changed(reliable(), estimates=without)))


def test_many_open_decisions_are_told_at_the_top() -> None:
    answer = reliable()
    few, many = (changed(answer, left_out={"open": answer.rows // part}) for part in (10, 2))
    assert not words.left_open(few)
    assert words.left_open(many) in lines(many)[:6]
    assert words.left_open(many) in html(many)
    assert words.left_open(many).startswith(f"{answer.rows // 2:,} of ")


@pytest.mark.parametrize("make", [reliable, open_question, not_reliable, one_row])
def test_the_first_line_is_the_verdict(make: Callable[[], Answer]) -> None:
    answer = make()
    assert lines(answer)[0] == answer.verdict.sentence


@pytest.mark.parametrize(
    ("make", "colour"), [(reliable, "32"), (open_question, "33"), (not_reliable, "31")], ids=["green", "yellow", "red"]
)
def test_its_colour_is_that_of_the_level(make: Callable[[], Answer], colour: str) -> None:
    assert shown(make(), colour=True).startswith(f"\x1b[1;{colour}m{make().verdict.level}")


def test_all_of_it() -> None:
    assert "\n".join(lines(not_reliable(), 110)) == (
        """\
not reliable: effective sample size 12 of 10,000, one row carries 71 % of the weight
  • the mean weight is 1.31, expected 1: the propensities are wrong
  • the target has learned from 2,500 of these rows

new-ranker: The average reward per decision over the log's period, estimated from 10,000 decisions.

by               value  95 % interval
ips              0.131  0.004 or more       ━━━━━┊━━━━━━━━●━━━━━━━━━━>
snips            0.100  0.000 to 0.910      ━━━━━┊━━━━●━━━━━━━━━━━━━━>
dr             unknown  unknown                  ┊
Logged policy  0.04862  0.04764 to 0.04960       ●

No decision by these numbers. They are not reliable: see why above.
Difference from the logged policy: +0.082, -0.050 or more.
Effective sample size 12.1, effective rows with a reward 1.9, largest weight 9,301, mean weight 1.31.
Effective sample size: so many decisions of equal weight say as much as 10,000 of unequal weight.
Effective rows with a reward: the same number for the decisions that earned something.
ips: the mean reward, if each decision counts by how much more often the target takes the logged action.
For all interim analyses together (until 2025-11-15 00:00 UTC): 0.057, 0.053 to 0.060.

country  value  95 % interval, of all    rows
France   0.058  0.049 to 0.067         84,787  reliable
Germany  0.057  0.046 to 0.068         57,139  reliable
Spain    0.054  0.040 to 0.068         33,178  reliable
Malta    0.071  -0.009 to 0.151           737  not reliable

The log's health: 1 of 3 checks found a fault.
  • mean weight: the mean weight is not 1: the logged propensities are not those of the draws (p < 0.0001)
Left out: 12 conflicting, 1,204 expired, 3,391 not activated, 3 repeats.
The target has learned from 2,500 of them: its value there is too good."""
    )


def test_what_was_not_measured_is_said() -> None:
    answer = reliable()
    remark = Finding(
        name="not_adaptive", value=None, expected=None, p_value=None, wrong=False, says="its rows count alike"
    )
    changed_lines = lines(changed(answer, health=[*answer.health, remark]))
    assert [line for line in changed_lines if line not in lines(answer)][-1] == "  • not adaptive: its rows count alike"


def test_an_interval_that_includes_the_bias_is_marked() -> None:
    answer = reliable()
    shrunk = [changed(each, interval="delta, with the bias") for each in answer.estimates[:1]]
    changed_lines = lines(changed(answer, estimates=[*shrunk, *answer.estimates[1:]]))
    assert [line for line in changed_lines if "(with its bias)" in line] == [
        line for line in changed_lines if line.startswith(shrunk[0].estimator)
    ]


def test_a_sequence_that_is_unknown_says_why() -> None:
    answer = reliable()
    unknown = [changed(analysis, low=None, high=None) for analysis in answer.over_time]
    (said,) = [line for line in lines(changed(answer, over_time=unknown)) if line.startswith("For all interim")]
    assert said.endswith("unknown. Nothing bounds what a decision can earn, or rewards lie beyond it (--reward-range).")


def test_what_is_well_takes_one_line() -> None:
    said = lines(reliable())
    assert "The log's health: 3 checks, no fault." in said
    assert "Better than the logged policy. The interval excludes 0." in said
    assert not [line for line in said if "learned" in line]


def test_many_faults_do_not_hide_the_rest() -> None:
    faults = [
        Finding(name=f"check {number}", value=None, expected=None, p_value=number / 100, wrong=True, says="it is wrong")
        for number in range(30)
    ]
    said = lines(changed(reliable(), health=faults[::-1]))
    assert "The log's health: 30 of 30 checks found a fault." in said
    changed_lines = [line for line in said if "it is wrong" in line]
    assert changed_lines[0] == "  • check 0: it is wrong (p < 0.0001)"
    assert len(changed_lines) == 10
    assert "  • and 20 more: --json or the report has all" in said


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("make", ANSWERS.values(), ids=[name.replace(" ", "-") for name in ANSWERS])
def test_it_fits_every_terminal(make: Callable[[], Answer], width: int, encoding: str) -> None:
    text = shown(make(), width=width, encoding=encoding)
    assert max(len(line) for line in text.splitlines()) <= width


def test_foreign_names_do_nothing_to_the_terminal() -> None:
    text = shown(hostile())
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[2J" in text
    assert "{{ 7 * 7 }}" in text
    # Nor are they rich's markup.
    marked = changed(reliable(), target="[bold red]x[/]")
    assert "[bold red]x[/]" in shown(marked)
