"""The pages of the docs: the index leads to each, each has one kind, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.name not in {"README.md", "plan.md"})
TEXTS = [*PAGES, DOCS / "README.md", *ROOT.glob("*.md")]
KINDS = {"tutorial", "how-to", "reference", "explanation"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each).lower()).strip() for each in headings}
    return {each.replace(" ", "-") for each in made} | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def test_the_index_leads_to_every_page_and_gives_it_one_kind() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in index.splitlines() if line.startswith("| ") and "](" in line]
    assert {kind for _, _, kind in rows} <= KINDS
    linked = [link for _, pages, _ in rows for link in LINK.findall(pages)]
    assert len(linked) == len(set(linked))
    assert {str(page.relative_to(DOCS)) for page in PAGES} == {link for link in linked if link.endswith(".md")} - {
        "../CONTRIBUTING.md"
    }


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_what_is_there(page: Path) -> None:
    lost = []
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_has_one_title(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


def test_a_lost_anchor_would_be_found() -> None:
    assert {"other-intervals", "the-numbers"} <= anchors(DOCS / "evaluation.md")
    assert "others" not in anchors(DOCS / "evaluation.md")
