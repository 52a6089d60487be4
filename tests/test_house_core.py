"""The core path, from a request to the version that has learned from it, can be read in an afternoon."""

import ast
import io
import re
import tokenize
from pathlib import Path

from tests.test_imports import ROOT

CORE = ("records", "policies", "rewards", "stream/roles")
MAX_LINES = 6_000
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def off_the_path() -> set[str]:
    """Return the files of the core's rooms that the page on the architecture does not count in."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## The core path\n")[2].partition("\n## ")[0]
    (sentence,) = re.findall(r"not on the path: (.*?\.py`\.) ", section.replace("\n", " "))
    return set(re.findall(r"`([a-z_/]+\.py)`", sentence))


def code_lines(source: str) -> int:
    """Count the lines that hold code: neither blank, nor a comment, nor part of a docstring.

    >>> code_lines('\"\"\"Of a module.\"\"\"\\n\\n# Why.\\nx = 1\\n')
    1
    """
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def core_files() -> list[Path]:
    return [path for room in CORE for path in sorted((ROOT / room).rglob("*.py"))]


def test_what_is_off_the_path_is_there() -> None:
    assert off_the_path() <= {str(path.relative_to(ROOT)) for path in core_files()}
    assert len(off_the_path()) == 10


def test_the_core_path_has_at_most_6000_lines() -> None:
    lines = {str(path.relative_to(ROOT)): code_lines(path.read_text(encoding="utf-8")) for path in core_files()}
    assert sum(lines[name] for name in lines.keys() - off_the_path()) <= MAX_LINES
