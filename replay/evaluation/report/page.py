"""The report: one HTML file that asks nothing of any network and runs no script."""

import base64
import hashlib
import math
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from replay.evaluation.report import pictures, words
from replay.evaluation.report.numbers import (
    UNKNOWN,
    brief,
    moment,
    number,
    percent,
    plural,
    probability,
    short,
    signed,
    spelled,
)
from replay.evaluation.result import Result


def html(answer: Result) -> str:
    """Return the report as one HTML page.

    It holds no script, and its Content-Security-Policy forbids one, along with every request; names and sentences are
    escaped. It follows the reader's light or dark scheme, and prints on A4.

    Parameters
    ----------
    answer
        What an evaluation found.

    Returns
    -------
    str
        To be written as UTF-8.
    """
    return _rendered("report.html.jinja", answer)


def fragment(answer: Result) -> str:
    """Return the report's first screen for use in another page: a notebook's ``_repr_html_``."""
    return _rendered("fragment.html.jinja", answer)


def _rendered(template: str, answer: Result) -> str:
    answer = words.cleaned(answer)
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(style=Markup(style), content_policy=policy, **_context(answer))


def _context(answer: Result) -> dict[str, Any]:
    verdict = answer.verdict
    because = verdict.sentence
    if because.lower().startswith(verdict.level):
        # The level is the heading.
        because = because[len(verdict.level) :].lstrip(" :,;.-") or because
    actions, rest, action_bars = pictures.overlap(answer)
    weight_bins, weight_bars, weight_rows = pictures.weights(answer)
    course = pictures.course(answer)
    return {
        "answer": answer,
        "unknown": UNKNOWN,
        "measured": words.measured(answer),
        "left_open": words.left_open(answer),
        "because": because[:1].upper() + because[1:],
        "reasons": [reason for reason in verdict.reasons if reason not in verdict.sentence],
        "explained": words.explained(answer),
        "sequence": words.sequence(answer),
        "places_over_time": pictures.places_over_time(answer),
        "judgement": words.judgement(answer),
        "assumption": words.assumption(answer),
        "relative": words.relative(answer),
        "against": words.against(answer.difference) if answer.difference else "",
        "places": pictures.places(answer),
        "places_apart": pictures.places_apart(answer),
        "values": pictures.values(answer),
        "estimates": pictures.estimates(answer),
        "resampled": any((each.resampled_low, each.resampled_high) != (None, None) for each in answer.estimates),
        "course": course,
        "course_says": words.course(answer) if course else "",
        "weight_bins": weight_bins,
        "weight_bars": weight_bars,
        "weight_rows": weight_rows,
        "actions": actions,
        "rest": rest,
        "action_bars": action_bars,
        "segments": list(pictures.segments(answer)),
        "findings": sorted(answer.health, key=words.weightiest_first),
        "results": words.result,
        "wrong": sum(each.wrong for each in answer.health),
        "statistics": words.statistics(answer),
    }


def _data(text: str, value: float | None) -> Markup:
    if value is None or not math.isfinite(value):
        return Markup('<span class="unknown">{}</span>').format(text)
    # A minus sign, which is as wide as a digit; the attribute keeps all digits for a machine.
    return Markup('<data value="{}">{}</data>').format(repr(value), escape(text.replace("-", "\N{MINUS SIGN}")))


def _value(value: float | None, places: int, sign: bool = False) -> Markup:
    return _data(signed(value, places) if sign else number(value, places), value)


@cache
def _style() -> str:
    return (
        files("replay.evaluation.report")
        .joinpath("templates/report.css")
        .read_text(encoding="utf-8")
        .replace("\r\n", "\n")
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("replay.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "data": _value,
        "short_data": lambda value: _data(short(value), value),
        "short": short,
        "percent": percent,
        "probability": probability,
        "plural": plural,
        "count": lambda value: f"{value:,}",
        "moment": moment,
        "spelled": lambda name: brief(spelled(name), 120),
    }
    return environment
