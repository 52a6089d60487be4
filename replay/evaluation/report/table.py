"""The answer on a terminal: the verdict first, then what it is a verdict on."""

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from replay.evaluation.report import pictures, words
from replay.evaluation.report.axis import Mark
from replay.evaluation.report.numbers import NARROW, brief, moment, number, plural, probability, short, signed, spelled
from replay.evaluation.result import Result

COLOURS = {"reliable": "bold green", "use with care": "bold yellow", "not reliable": "bold red"}
_PICTURE = 26
_MOST_FINDINGS, _MOST_SEGMENTS = 10, 10


def show(answer: Result, console: Console) -> None:
    """Print the result; it is readable without colours and in 80 columns.

    Parameters
    ----------
    answer
        What an evaluation found.
    console
        Where to.
    """
    plain = console.options.ascii_only
    answer = words.cleaned(answer, "ascii" if plain else "utf-8")
    for part in _parts(answer, plain):
        console.print(part, highlight=False)


def _parts(answer: Result, plain: bool) -> Iterator[RenderableType]:
    verdict = answer.verdict
    yield Text(verdict.sentence, style=COLOURS[verdict.level])
    for reason in verdict.reasons:
        if reason not in verdict.sentence:
            yield _listed(Text(reason), plain)
    yield Text()
    yield Text.assemble((answer.target, "bold"), f": {words.measured(answer)}.")
    if waits := words.left_open(answer):
        yield Text(waits, style="yellow")
    yield Text()
    yield _estimates(answer, plain)
    yield from _resampled(answer)
    yield Text()
    yield from _difference(answer)
    sizes = {"effective sample size": answer.ess, "effective rows with a reward": answer.effective_positives}
    sizes |= {"largest weight": answer.max_weight, "mean weight": answer.mean_weight}
    yield Text(", ".join(f"{name} {short(value)}" for name, value in sizes.items()).capitalize() + ".")
    for sentence in words.explained(answer):
        yield Text(sentence, style="dim")
    last = answer.over_time[-1] if answer.over_time else None
    if last is not None and last.value is not None:
        places = pictures.places_over_time(answer)
        until = f" (until {moment(last.time_ms)} UTC)" if last.time_ms is not None else ""
        value, between = number(last.value, places), words.between(last.low, last.high, places)
        if last.low is None and last.high is None:
            between += f". {words.NO_BAND}"
        yield Text(f"For all interim analyses together{until}{words.sequence(answer)}: {value}, {between}.")
    yield from _segments(answer)
    yield from _faults(answer, plain)
    yield from _remarks(answer, plain)
    if answer.left_out:
        counts = ", ".join(f"{count:,} {brief(spelled(reason), 60)}" for reason, count in answer.left_out.items())
        yield Text(f"Left out: {counts}.")
    if answer.learned:
        text = f"The target has learned from {answer.learned:,} of them: its value there is too good."
        yield Text(text, style="yellow")


def _estimates(answer: Result, plain: bool) -> Table:
    forest = pictures.estimates(answer)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("by", overflow="fold", max_width=20)
    table.add_column("value", justify="right", overflow="fold")
    table.add_column("95 % interval", overflow="fold")
    table.add_column("", width=_PICTURE, no_wrap=True, overflow="crop")
    for row in forest.rows:
        style = {"target": "bold", "logged": "", "other": ""}[row.tone]
        table.add_row(
            Text(row.name, style=style),
            Text(number(row.value, row.places), style=style),
            words.between(row.low, row.high, row.places) + (" (with its bias)" if "with the bias" in row.note else ""),
            Text(_drawn(row.mark, forest.reference, plain), style=style),
        )
    return table


def _resampled(answer: Result) -> Iterator[Text]:
    """Yield the ends by the bootstrap, where it was asked for."""
    places = pictures.places(answer)
    ends = [
        f"{each.estimator} {words.between(each.resampled_low, each.resampled_high, places)}"
        for each in answer.estimates
        if each.resampled_low is not None or each.resampled_high is not None
    ]
    if ends:
        yield Text(f"By the bootstrap: {', '.join(ends)}.")


def _segments(answer: Result) -> Iterator[RenderableType]:
    """Yield a table a kind of segment, with the largest ones."""
    for kind, found in groupby(sorted(answer.segments, key=lambda each: each.segment), key=lambda each: each.segment):
        largest = sorted(found, key=lambda each: (-each.rows, each.name))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column(Text(kind), overflow="fold", max_width=30)
        table.add_column("value", overflow="fold", justify="right")
        for name in ("95 % interval, of all", "rows", ""):
            table.add_column(name, overflow="fold", justify="right" if name == "rows" else "left")
        places = pictures.places(answer)
        for each in largest[:_MOST_SEGMENTS]:
            between = words.between(each.low, each.high, places)
            table.add_row(Text(each.name), number(each.value, places), between, f"{each.rows:,}", each.level)
        yield Text()
        yield table
        if len(largest) > _MOST_SEGMENTS:
            yield Text(f"and {len(largest) - _MOST_SEGMENTS} more: --json or the report has them")
    if answer.segments:
        yield Text()


def _drawn(mark: Mark | None, reference: float | None, plain: bool) -> str:
    """Return an interval in letters; where the logged policy lies, a line goes down through all of them."""
    line, dot, rule = ("-", "o", "|") if plain else ("━", "●", "┊")

    def cell(at: float) -> int:
        return min(int(at / 100 * _PICTURE), _PICTURE - 1)

    cells = [" "] * _PICTURE
    if mark is not None:
        for place in range(cell(mark.low), cell(mark.high) + 1):
            cells[place] = line
        if mark.cut_low:
            cells[0] = "<"
        if mark.cut_high:
            cells[-1] = ">"
    if reference is not None:
        cells[cell(reference)] = rule
    if mark is not None and mark.value is not None:
        cells[cell(mark.value)] = dot
    return "".join(cells).rstrip()


def _difference(answer: Result) -> Iterator[Text]:
    judgement, difference = words.judgement(answer), answer.difference
    style = {"better": "bold green", "worse": "bold red", "open": "bold"}[judgement.tone]
    yield Text.assemble((f"{judgement.says}.", style), " ", judgement.why)
    if difference is not None and difference.value is not None:
        places = pictures.places_apart(answer)
        value, between = signed(difference.value, places), words.between(difference.low, difference.high, places)
        assumed = words.assumption(answer)
        yield Text(f"Difference from {words.against(difference)}: {value}, {between}. {assumed}".rstrip())


def _faults(answer: Result, plain: bool) -> Iterator[RenderableType]:
    wrong = sorted((each for each in answer.health if each.wrong), key=words.weightiest_first)
    if not wrong:
        if answer.health:
            yield Text(f"The log's health: {plural(len(answer.health), 'check')}, no fault.")
        return
    yield Text(f"The log's health: {len(wrong)} of {plural(len(answer.health), 'check')} found a fault.", style="red")
    for finding in wrong[:_MOST_FINDINGS]:
        chance = "" if finding.p_value is None else f" (p {probability(finding.p_value)})".replace(NARROW, " ")
        yield _listed(Text.assemble((spelled(finding.name), "bold"), f": {finding.says}{chance}"), plain)
    if len(wrong) > _MOST_FINDINGS:
        yield _listed(Text(f"and {len(wrong) - _MOST_FINDINGS} more: --json or the report has all"), plain)


def _remarks(answer: Result, plain: bool) -> Iterator[RenderableType]:
    """Yield what is said of how the log was taken, without a measurement: it may be why an interval is too narrow."""
    for each in answer.health:
        if not each.wrong and each.value is None and each.p_value is None:
            yield _listed(Text.assemble((spelled(each.name), "bold"), f": {each.says}"), plain)


def _listed(text: Text, plain: bool) -> RenderableType:
    point = Table.grid(padding=(0, 1, 0, 0))
    point.add_column(no_wrap=True)
    # Rich would put an ellipsis, which not every terminal has.
    point.add_column(overflow="fold")
    point.add_row("  *" if plain else "  •", text)
    return point
