"""The report shows the content of the answer, in words and in numbers."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from replay.evaluation.answer import Answer
from replay.evaluation.report.page import html
from replay.evaluation.result import Analysis, Bin
from tests.replay.evaluation.report.answers import (
    ANSWERS,
    START_MS,
    changed,
    large,
    not_reliable,
    one_row,
    open_question,
    reliable,
)
from tests.replay.evaluation.report.strict import Element, read

HOUR_MS = 3_600_000
MAKERS = pytest.mark.parametrize("make", ANSWERS.values(), ids=[name.replace(" ", "-") for name in ANSWERS])


def rows(page: Element, heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading."""
    section = next(each for each in page.all("section") if each.has("aria-labelledby", heading))
    return [
        [cell.words for cell in row.inside if isinstance(cell, Element)]
        for body in section.all("tbody")
        for row in body.all("tr")
    ]


def numbers(page: Element) -> set[float]:
    return {float(each.attributes["value"] or "") for each in page.all("data")}


def numbers_in(answer: Answer) -> Iterator[float | None]:
    """Yield every number of an answer that the report must show."""
    yield from (answer.rows, answer.value_logged, *answer.value_logged_interval, answer.learned)
    yield from (answer.ess, answer.effective_positives, answer.max_weight, answer.mean_weight)
    yield from answer.left_out.values()
    yield from answer.statistics.values()
    for estimated in answer.estimates:
        yield from (estimated.value, estimated.low, estimated.high, estimated.resampled_low, estimated.resampled_high)
    if answer.difference is not None:
        yield from (answer.difference.value, answer.difference.low, answer.difference.high)
    for each in answer.segments[:1]:
        yield from (each.value, each.low, each.high)
    for analysis in answer.over_time if len(answer.over_time) > 1 else []:
        yield from (analysis.rows, analysis.value, analysis.low, analysis.high)
    for finding in answer.health:
        yield from (finding.value, finding.expected)
    yield from (each.rows for each in answer.weights)


@MAKERS
def test_every_number_is_there_with_all_its_digits(make: Callable[[], Answer]) -> None:
    answer = make()
    shown = numbers(read(html(answer)))
    assert {value for value in numbers_in(answer) if value is not None} <= shown


@pytest.mark.parametrize("make", [reliable, open_question, not_reliable])
def test_the_verdict_comes_first_and_not_by_colour_alone(make: Callable[[], Answer]) -> None:
    answer = make()
    page = read(html(answer))
    verdict = page.one("section", class_="verdict")
    first = next(each for each in page.one("main").inside if isinstance(each, Element))
    assert first is verdict
    level = answer.verdict.level
    assert verdict.one("h2").words == level.capitalize()
    because = answer.verdict.sentence.removeprefix(f"{level}: ")
    assert verdict.one("p").words == because[0].upper() + because[1:]
    # What the sentence says is not said again.
    said = [each.words for each in verdict.all("li")]
    assert said == [reason for reason in answer.verdict.reasons if reason not in answer.verdict.sentence]
    (icon,) = verdict.all("svg", class_="icon")
    drawn = {path.attributes.get("d") for path in icon.all("path")}
    others = [read(html(other())).one("section", class_="verdict") for other in (reliable, open_question, not_reliable)]
    alike = [other for other in others if {path.attributes.get("d") for path in other.all("path")} == drawn]
    assert [other.one("h2").words for other in alike] == [level.capitalize()]


def test_a_difference_that_shows() -> None:
    page = read(html(reliable()))
    decide = page.one("section", class_="difference")
    assert decide.one("h2").words == "Better than the logged policy"
    assert decide.one("p", class_="big").words == "+0.0083 +17 %"
    assert decide.one("p", class_="ends").words == "0.0068 to 0.0097 (95 %), against the logged policy"
    worse = read(html(large())).one("section", class_="difference")
    assert worse.one("h2").words == "Worse than front@11"
    assert worse.one("p", class_="big").words == "\u221214 \u22121.2 %"


@pytest.mark.parametrize("base", [0.0, -0.003, 1e-9, None])
def test_a_difference_from_nothing_has_no_per_cent(base: float | None) -> None:
    difference = reliable().difference
    assert difference is not None
    page = read(html(changed(reliable(), difference=changed(difference, base=base))))
    assert "%" not in page.one("section", class_="difference").one("p", class_="big").words


def test_how_long_until_a_difference_shows() -> None:
    decide = read(html(open_question())).one("section", class_="difference")
    assert decide.one("h2").words == "No difference shows yet"
    assert "It would show after about 18 more days like these" in decide.words
    assumed = "Assumed: the difference stays as large as it is now, and as many decisions a day are logged."
    assert decide.words.endswith(assumed)
    answer = open_question()
    assert answer.difference is not None
    unknown = changed(answer.difference, days_more=None, assumption="that cannot be said: it is too close to 0")
    decide = read(html(changed(answer, difference=unknown))).one("section", class_="difference")
    assert decide.words.endswith("When would it show? That cannot be said: it is too close to 0.")
    # Where it shows, there is nothing to wait for.
    shown = reliable().difference
    assert shown is not None
    done = changed(reliable(), difference=changed(shown, assumption="it shows already"))
    assert read(html(done)).one("section", class_="difference").words.endswith("The interval excludes 0.")


def test_an_end_that_is_nearly_zero_is_not_called_zero() -> None:
    answer = open_question()
    assert answer.difference is not None
    near = changed(answer, difference=changed(answer.difference, low=-0.0000213))
    decide = read(html(near)).one("section", class_="difference")
    assert decide.one("p", class_="ends").words.startswith("\u22120.00002 to 0.01040 (95 %)")


def test_numbers_that_are_not_reliable_call_for_no_decision() -> None:
    page = read(html(changed(reliable(), verdict=not_reliable().verdict)))
    decide = page.one("section", class_="difference")
    assert decide.one("h2").words == "No decision by these numbers"
    assert decide.has("class_", "doubtful")
    assert "Better" not in decide.words


def test_the_headline_estimate_stands_beside_the_logged_policy() -> None:
    lanes = read(html(reliable())).one(class_="lanes")
    assert [each.words for each in lanes.all("p")] == [
        "front@12-0a1b2c3d the target, by dr 0.0569 0.0554 to 0.0584",
        "Logged policy mean reward 0.04862 0.04764 to 0.04960",
    ]


def test_estimates_side_by_side() -> None:
    read_rows = rows(read(html(reliable())), "estimates")
    # The headline first, the logged policy last; then all in numbers.
    assert [row[0] for row in read_rows[:7]] == [
        f"{name} {note}"
        for name, note in (
            *((each, "delta") for each in ("dr", "ips", "snips", "sndr", "switch-dr", "dm")),
            ("Logged policy", "mean reward"),
        )
    ]
    assert read_rows[7] == [
        "ips",
        "0.05731",
        "0.05493",
        "0.05969",
        "delta",
        "0.05500",
        "0.05974",
        "Horvitz and Thompson 1952; Dudik, Langford, Li 2011, section 2.1",
    ]


def test_the_unknown_is_called_so() -> None:
    read_rows = rows(read(html(not_reliable())), "estimates")
    assert read_rows[2] == ["dr delta", "unknown", "unknown", "unknown"]
    assert read_rows[0] == ["ips delta", "", "0.131", "0.004 or more"]
    assert read_rows[4][:4] == ["ips", "0.1310", "0.0040", "no bound"]
    assert read_rows[6][:4] == ["dr", "unknown", "unknown", "unknown"]
    never = ["new arrival never logged", "", "0", "0 %", "37 %", "unknown"]
    assert never in rows(read(html(not_reliable())), "overlap")
    page = read(html(one_row()))
    assert page.one("section", class_="difference").one("h2").words == "The difference is unknown"
    assert ["Pareto k of the weights", "unknown"] in rows(page, "statistics")
    assert "None" not in page.one("main").text


def test_an_answer_that_was_written_and_read_gives_the_same_page() -> None:
    for make in (reliable, not_reliable, one_row):
        again = msgspec.json.decode(msgspec.json.encode(make()), type=Answer)
        assert html(again) == html(make())


def test_without_any_estimate_the_log_is_still_told() -> None:
    page = read(html(changed(one_row(), estimates=[], health=reliable().health)))
    assert [each.words for each in page.one(class_="lanes").all("p")] == ["Logged policy mean reward 0.0000 unknown"]
    assert len(rows(page, "health")) == 3


def test_an_interval_that_is_unknown_is_not_drawn_as_one_without_bounds() -> None:
    first = changed(not_reliable().estimates[0], estimator="dm", low=None, high=None)
    page = read(html(changed(not_reliable(), estimates=[*not_reliable().estimates, first])))
    (row,) = (each for each in page.all("tr") if each.words.startswith("dm delta"))
    assert row.all("circle", class_="dot")
    assert not row.all("svg", class_="beyond")
    assert row.one("rect", class_="interval").attributes["width"] == "0.0%"
    assert row.one("td", class_="ends").words == "unknown"
    in_numbers = next(each for each in rows(page, "estimates") if each[0] == "dm")
    assert in_numbers[1:4] == ["0.1310", "unknown", "unknown"]


def test_a_small_value_with_a_wide_interval_is_no_zero() -> None:
    wide = changed(reliable().estimates[0], estimator="dr", value=0.00286, low=0.0, high=0.065)
    page = read(html(changed(reliable(), estimates=[wide])))
    assert page.one(class_="lanes").all("p")[0].words.endswith("0.0029 0.0000 to 0.0650")
    none = changed(wide, value=0.0)
    page = read(html(changed(reliable(), estimates=[none])))
    assert page.one(class_="lanes").all("p")[0].words.endswith("0.000 0.000 to 0.065")


def test_faults_come_first_with_their_chance() -> None:
    read_rows = rows(read(html(not_reliable())), "health")
    assert read_rows[0] == [
        "mean weight",
        "fault",
        "the mean weight is not 1: the logged propensities are not those of the draws",
        "1.31",
        "1",
        "< 0.0001",
    ]
    assert [row[1] for row in read_rows] == ["fault", "no fault", "no fault"]
    assert read_rows[2][-2:] == ["0", "\u2013"]
    # What changes over time is told, and is no fault.
    drift = changed(reliable().health[0], name="drift_of_reward", p_value=0.001)
    read_rows = rows(read(html(changed(reliable(), health=[*reliable().health, drift]))), "health")
    assert [row[:2] for row in read_rows[:2]] == [["drift of reward", "notice"], ["draws against pmf", "no fault"]]
    page = read(html(not_reliable()))
    assert page.one("caption", id="checks").words.startswith("1 of 3 checks found a fault.")


def test_the_largest_actions_and_what_the_others_are_together() -> None:
    read_rows = rows(read(html(large())), "overlap")
    assert len(read_rows) == 31
    assert read_rows[0][0] == "item-0000"
    logged = sum((2_000 - index) / 2_001_000 for index in range(30, 2_000))
    assert read_rows[-1] == ["1,970 others", "", "25,610", f"{100 * logged:.0f} %", "98.5 %", ""]


def test_the_largest_segments_of_each_kind() -> None:
    page = read(html(large()))
    assert [each.words for each in page.all("h3")] == ["position", "shop", "Do it again"]
    read_rows = rows(page, "segments")
    assert len(read_rows) == 60
    assert read_rows[0][0] == "position 0 reliable · 400,000 rows"
    captions = [each.words for each in page.all("caption") if "smaller ones" in each.words]
    assert all("The 30 largest; 120 smaller ones are not shown." in each for each in captions)
    assert "(delta, corrected by Bonferroni for their number)" in captions[0]


def test_what_was_left_out_and_learned() -> None:
    read_rows = rows(read(html(not_reliable())), "rows")
    assert ["left out: not activated", "3,391"] in read_rows
    assert ["used, but the target has learned from them", "2,500"] in read_rows
    assert "Nothing was left out." in html(one_row())


def test_how_to_do_it_again() -> None:
    answer = reliable()
    page = read(html(answer))
    assert page.one("pre").text == answer.how.command
    how = page.all("section")[-1].words
    for part in (
        answer.how.digest,
        "10,000 resamples",
        "vw --cb_explore_adf, cross-fitted",
        "archive (bowerbird)",
        "0.9.0",
    ):
        assert part in how


def test_the_course_over_time() -> None:
    picture = read(html(reliable())).one("svg", class_="course")
    assert picture.attributes["aria-label"] == (
        "From 2025-11-01 05:36 to 2025-11-15 00:00 UTC; at the end 0.0569, interval 0.0535 to 0.0603, "
        "from 184,320 rows."
    )
    band = [point.split(",") for point in (picture.one("polygon").attributes["points"] or "").split()]
    # The first of 60 analyses knew no bound; the last one's bounds lie around its value.
    assert len(band) == 118
    assert float(band[0][0]) > 0
    (line,) = picture.all("polyline")
    last = float((line.attributes["points"] or "").split()[-1].split(",")[1])
    assert float(band[58][1]) < last < float(band[59][1])
    days = [each.words for each in picture.all("text") if "Nov" in each.words]
    assert days == [f"{day} Nov" for day in range(2, 15, 2)]


@pytest.mark.parametrize(
    ("length_ms", "labels"),
    [
        (10_000, ["00:00"]),
        (2 * HOUR_MS, ["00:00", "00:30", "01:00", "01:30", "02:00"]),
        (30 * HOUR_MS, ["00:00", "06:00", "12:00", "18:00", "00:00", "06:00"]),
        (100 * 24 * HOUR_MS, ["20 Nov", "18 Dec", "15 Jan"]),
        (900 * 24 * HOUR_MS, ["Apr 2026", "Oct 2026", "Apr 2027", "Oct 2027"]),
    ],
)
def test_the_axis_of_time(length_ms: int, labels: list[str]) -> None:
    analyses = [
        Analysis(time_ms=START_MS + length_ms * part // 10, rows=1 + part, value=0.05, low=0.04, high=0.06)
        for part in range(11)
    ]
    page = read(html(changed(reliable(), over_time=analyses)))
    shown = [each.words for each in page.one("svg", class_="course").all("text")]
    assert [each for each in shown if not each.startswith("0.0")] == labels


def test_a_course_without_bounds() -> None:
    analyses = [changed(analysis, low=None, high=None) for analysis in reliable().over_time]
    page = read(html(changed(reliable(), over_time=analyses)))
    picture = page.one("svg", class_="course")
    assert picture.all("polyline")
    assert not picture.all("polygon")
    caption = page.one("figcaption").words
    assert "No interval is known that holds at all times at once." in caption
    assert "--reward-range" in caption
    assert "unknown" not in caption
    (heads,) = [each.all("th") for each in page.one("section", **{"aria-labelledby": "time"}).all("thead")]
    assert [each.words for each in heads] == ["Until (UTC)", "Rows", "Value"]
    unknown = [changed(analysis, value=None) for analysis in analyses]
    picture = read(html(changed(reliable(), over_time=unknown))).one("svg", class_="course")
    assert not picture.all("polyline")


def test_a_course_without_bounds_is_not_cut() -> None:
    analyses = [
        changed(analysis, low=None, high=None, value=0.05 + (5.0 if place < 5 else 0.0))
        for place, analysis in enumerate(reliable().over_time)
    ]
    picture = read(html(changed(reliable(), over_time=analyses))).one("svg", class_="course")
    (line,) = picture.all("polyline")
    points = [float(point.split(",")[1]) for point in (line.attributes["points"] or "").split()]
    assert len(points) == len(analyses)
    assert max(points) - min(points) > 50


def _reward_card(answer: Answer) -> list[Element]:
    return read(html(answer)).one("section", **{"aria-label": "Reward per decision"}).all("p")


def test_the_terms_of_the_first_screen_are_explained() -> None:
    sentences = [each.words for each in _reward_card(reliable())]
    assert any(each.startswith("Effective sample size: so many decisions of equal weight say") for each in sentences)
    assert any(each.startswith("Effective rows with a reward: the same number") for each in sentences)
    assert any(each.startswith("dr: what a model of rewards predicts") for each in sentences)


def test_many_bins_of_weights_are_few_lines() -> None:
    never = Bin(low=0.0, high=0.0, rows=7, share=0.0)
    bins = [Bin(low=2.0**power, high=2.0 ** (power + 1), rows=1, share=0.02) for power in range(-40, 10)]
    read_rows = rows(read(html(changed(reliable(), weights=[never, *bins]))), "weights")
    assert len(read_rows) == 16
    assert read_rows[0] == ["0", "", "7", "12.3 %", "0 %"]
    assert read_rows[1] == ["9.09e-13 to 0.0625", "", "36", "63.2 %", "72 %"]
    assert read_rows[2][0] == "0.0625 to 0.125"
    assert read_rows[-1][0] == "512 to 1,024"
