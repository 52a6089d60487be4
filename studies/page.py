"""Parts of a page that a study writes, between two marks; what stands around them is written by hand."""

from pathlib import Path


def written(page: Path, part: str, text: str) -> None:
    """Put a text between the marks ``<!-- part -->`` and ``<!-- end of part -->`` of a page.

    Raises
    ------
    ValueError
        The page has no such marks.
    """
    start, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    whole = page.read_text()
    if start not in whole or end not in whole:
        raise ValueError(f"{page}: expected the marks {start} and {end}")
    before, after = whole.split(start)[0], whole.split(end)[1]
    page.write_text(f"{before}{start}\n{text}\n{end}{after}")
