"""The report in a real Chromium: on a screen and on a telephone, light and dark, on paper, and under attack."""

import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replay.evaluation.report.page import fragment, html
from tests.real.chromium import Page, browser
from tests.replay.evaluation.report.answers import ANSWERS, hostile, not_reliable, reliable

WIDE, NARROW = 1400, 380
# How often text hangs out of its cell or card; a scrolling region may be wider inside than it is.
OVERFLOWING = """
[...document.querySelectorAll("body *")].filter(each =>
  !each.closest("svg") && !each.closest(".wide") && getComputedStyle(each).position !== "absolute"
  && !each.closest("thead") && !each.closest("caption")
  && each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
).map(each => each.outerHTML.slice(0, 120))
"""


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with browser(tmp_path / "profile") as opened:
        yield opened


def written(folder: Path, text: str) -> str:
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("name", ANSWERS)
async def test_it_fits_the_screen_and_asks_for_nothing(page: Page, tmp_path: Path, name: str) -> None:
    address = written(tmp_path, html(ANSWERS[name]()))
    for width in (WIDE, NARROW):
        for dark in (False, True):
            await page.show(address, width=width, dark=dark)
            assert await page.value("document.documentElement.scrollWidth") <= width
            assert await page.value(OVERFLOWING) == []
            # The page has a ground of its own in either scheme.
            ground = await page.value("getComputedStyle(document.documentElement).backgroundColor")
            assert ground == ("rgb(14, 19, 25)" if dark else "rgb(243, 245, 248)")
            shot = await page.picture()
            across, down = struct.unpack(">II", shot[16:24])
            assert shot.startswith(b"\x89PNG")
            assert across <= width
            assert down > 900
    assert page.complaints == []
    # The page itself, once a look, and nothing besides.
    assert set(page.requests) == {address}


async def test_pictures_are_where_their_numbers_are(page: Page, tmp_path: Path) -> None:
    """Dots lie on their intervals, in the order of their values; style and percentages came through the policy."""
    for width in (WIDE, NARROW):
        await page.show(written(tmp_path, html(reliable())), width=width)
        rows = await page.value("""
            [...document.querySelectorAll(".forest tbody tr")].slice(0, 7).map(row => {
              const at = part => row.querySelector(part).getBoundingClientRect();
              const [dot, bar, value] = [at(".dot"), at(".interval"), at("data")];
              return [Number(row.querySelector("data").value), dot.left + dot.width / 2, bar.left, bar.right, bar.width,
                      value.width];
            })""")
        assert len(rows) == 7
        for value, dot, left, right, long, text in rows:
            assert left < dot < right, value
            assert long > 4
            assert text > 20
        by_value = sorted(rows)
        assert [row[1] for row in by_value] == sorted(row[1] for row in rows)
        assert by_value[-1][1] - by_value[0][1] > 0.3 * NARROW


async def test_a_table_stays_a_table_on_a_telephone(page: Page, tmp_path: Path) -> None:
    """A screen reader announces rows and cells, though they are laid out otherwise."""
    await page.show(written(tmp_path, html(reliable())), width=NARROW)
    tree = await page.call("Accessibility.getFullAXTree")
    roles = [each["role"]["value"] for each in tree["nodes"] if not each["ignored"] and "role" in each]
    tables = await page.value("document.querySelectorAll('table').length") - await page.value(
        "document.querySelectorAll('details table').length"
    )
    assert roles.count("table") == tables
    assert roles.count("row") >= 40
    assert roles.count("rowheader") >= 40
    assert roles.count("cell") + roles.count("gridcell") >= 100
    assert "image" in roles or "img" in roles
    # The heads of the columns are out of sight; each number has its name before it.
    nameless = """[...document.querySelectorAll('.stack tbody .n')].filter(each => each.textContent.trim()
      && !(each.dataset.label && getComputedStyle(each, '::before').content.includes(each.dataset.label))).length"""
    assert await page.value(nameless) == 0


async def test_no_foreign_text_is_run(page: Page, tmp_path: Path) -> None:
    """The same names without their escapes are held back by the page's policy."""
    text = html(hostile())
    await page.show(written(tmp_path, text), width=WIDE)
    assert await page.value("document.querySelectorAll('script, img, iframe').length") == 0
    assert page.complaints == []
    opened = text.replace(
        "<main>", '<main><img src="https://example.invalid/x"><script>document.title = "run"</script>'
    )
    assert opened != text
    await page.show(written(tmp_path, opened), width=WIDE)
    assert await page.value("document.title") != "run"
    assert len([each for each in page.complaints if "Content Security Policy" in each]) == 2


async def test_it_prints_on_a4(page: Page, tmp_path: Path) -> None:
    await page.show(written(tmp_path, html(reliable())), width=WIDE, dark=True)
    paper = await page.printed()
    assert paper.startswith(b"%PDF")
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", paper)}
    ((_, _, across, down),) = boxes
    assert (round(across), round(down)) == (595, 842)
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 6
    # Paper is white, whatever the screen is.
    await page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert await page.value("getComputedStyle(document.body).color") == "rgb(27, 36, 48)"


async def test_a_notebook_in_any_scheme_can_be_read(page: Page, tmp_path: Path) -> None:
    """The first screen brings its own ground, and its style leaves the notebook alone."""
    notebook = f"<!doctype html><title>n</title><body><h2 id=own>own</h2><p>p</p>{fragment(not_reliable())}</body>"
    alone = "<!doctype html><title>n</title><body><h2 id=own>own</h2><p>p</p></body>"
    look = "JSON.stringify(['fontSize', 'color', 'margin', 'fontFamily'].map(name => getComputedStyle(own)[name]))"
    looks = []
    for text in (notebook, alone):
        await page.show(written(tmp_path, text), width=800)
        looks.append(await page.value(look))
    assert looks[0] == looks[1]
    await page.show(written(tmp_path, notebook), width=800, dark=True)
    ground = await page.value("getComputedStyle(document.querySelector('.fragment')).backgroundColor")
    assert ground == "rgb(14, 19, 25)"
    assert page.complaints == []
