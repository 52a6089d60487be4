"""The report asks nothing of a network, lets no foreign text become markup, and can be read by everybody."""

import base64
import hashlib
import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from replay.evaluation.answer import Answer
from replay.evaluation.report.page import fragment, html
from tests.replay.evaluation.report.answers import (
    ANSWERS,
    EVIL,
    hostile,
    large,
    reliable,
)
from tests.replay.evaluation.report.strict import Element, read

MAKERS = pytest.mark.parametrize("make", ANSWERS.values(), ids=[name.replace(" ", "-") for name in ANSWERS])
# Attributes that make a browser fetch something, and what they may hold.
FETCHES = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background", "xlink:href", "ping"}
HELD_TAGS = {
    "script",
    "iframe",
    "object",
    "embed",
    "img",
    "form",
    "base",
    "audio",
    "video",
    "use",
    "image",
    "foreignobject",
}


@MAKERS
def test_a_page_that_asks_nothing_of_a_network(make: Callable[[], Answer]) -> None:
    text = html(make())
    page = read(text)
    for element in page.all():
        assert element.tag not in HELD_TAGS
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in FETCHES:
                assert value == "data:," or (value or "").startswith("#"), f"{element.tag} {name}={value}"
    style = page.one("style").text
    assert not re.search(r"url\(|@import|expression|</", style)
    assert [each for each in page.all("link") if each.attributes.get("rel") != "icon"] == []


@MAKERS
def test_the_policy_of_the_page_allows_its_own_style_and_nothing_else(make: Callable[[], Answer]) -> None:
    page = read(html(make()))
    (held,) = (each for each in page.all("meta") if each.has("http-equiv", "Content-Security-Policy"))
    policy = dict(part.strip().split(" ", 1) for part in (held.attributes["content"] or "").split(";"))
    digest = base64.b64encode(hashlib.sha256(page.one("style").text.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # It comes before what it forbids.
    first = [each.tag for each in page.one("head").all()][:2]
    assert first == ["meta", "meta"]


@MAKERS
def test_what_helps_those_who_do_not_see_it(make: Callable[[], Answer]) -> None:
    page = read(html(make()))
    assert page.one("html").attributes["lang"] == "en"
    assert page.one("title").words
    assert len(page.all("h1")) == 1
    levels = [int(each.tag[1]) for each in page.all() if re.fullmatch("h[1-6]", each.tag)]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    named = [each.attributes["id"] for each in page.all() if "id" in each.attributes]
    assert len(named) == len(set(named))
    for each in page.all():
        if "aria-labelledby" in each.attributes:
            assert each.attributes["aria-labelledby"] in named
        if each.tag == "a":
            assert (each.attributes["href"] or "").removeprefix("#") in named
        if each.tag == "th":
            assert each.attributes["scope"] in ("row", "col")
        if each.tag == "svg" and each.parent is not None and not _in_svg(each):
            # A picture has its words; one that stands beside the same numbers is passed over.
            assert each.has("aria-hidden", "true") or (each.has("role", "img") and each.attributes["aria-label"])
        if each.tag == "table":
            assert each.all("caption") or (each.parent is not None and "aria-label" in each.parent.attributes)


def _in_svg(element: Element) -> bool:
    above = element.parent
    while above is not None:
        if above.tag == "svg":
            return True
        above = above.parent
    return False


def test_foreign_text_stays_text() -> None:
    for text in (html(hostile()), fragment(hostile())):
        page = read(text)
        assert not page.all("script")
        assert not page.all("img")
        # Jinja took it for a text, too.
        assert "49" not in page.one(class_="measured").text
        assert EVIL in page.text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
        text.encode()


def test_names_are_apart_from_the_text_around_them() -> None:
    page = read(html(hostile()))
    apart = {each.text for each in page.all("bdi")}
    assert {"\u05e9\u05dc\u05d5\u05dd \\u202egnp.exe\\u2069", "\\ud800", "nul\\x00", "[bold red]x[/]"} <= apart
    assert all(len(name) <= 120 for name in apart)
    # What is copied is whole.
    assert page.one("pre").text == hostile().how.command


def test_a_page_is_small_whatever_the_log_is() -> None:
    assert len(html(large())) < 200_000
    assert html(reliable()) == html(reliable())


def test_a_notebook_shows_the_first_screen() -> None:
    text = reliable()._repr_html_()
    assert text is not None
    part = read(text)
    assert [each.tag for each in part.inside if isinstance(each, Element)] == ["style", "div"]
    assert part.one("section", class_="verdict").one("h2").words == "Reliable"
    # Two of them may stand on one page.
    assert not [each for each in part.all() if "id" in each.attributes]
    # It changes nothing of the page around it.
    style = re.sub(r"/\*.*?\*/|@page \{.*?\}", "", part.one("style").text, flags=re.DOTALL)
    selectors = [each.strip() for each in re.findall(r"(?:^|[{}])([^{}@]+)\{", style)]
    assert len(selectors) > 100
    assert [each for each in selectors if ".bowerbird" not in each] == []


# ----- colours that can be read


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2, relative luminance)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_what_it_is_known_to_be() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(scheme: int) -> None:
    style = read(html(reliable())).one("style").text
    block = re.findall(r"\{([^{}]*--page:[^{}]*)\}", style)[scheme]
    colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    for ground in ("page", "card"):
        for text in ("ink", "muted", "target", "logged", "other", "good", "care", "bad"):
            assert contrast(colour[text], colour[ground]) >= 4.5, f"{text} on {ground}"
    for level in ("good", "care", "bad"):
        assert contrast(colour[level], colour[f"{level}-page"]) >= 4.5
        assert contrast(colour["ink"], colour[f"{level}-page"]) >= 4.5
    for bar in ("target", "logged", "other"):
        assert contrast(colour[bar], colour[f"{bar}-soft"]) >= 3, f"a dot of {bar} on its bar"
