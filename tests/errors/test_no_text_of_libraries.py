"""The text of a foreign exception never goes into a message of ours: by the source alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_imports import MAY_IMPORT

ROOT = Path(__file__).parents[2]
OWN = {
    "BadInput",
    "BowerbirdError",
    "BrokerAway",
    "LawError",
    "LossDetected",
    "NotDecided",
    "PutRight",
    "StateRefused",
    "Unreadable",
    "WrongConfiguration",
    "WrongSettings",
}
"""What these say is ours."""
IN_WORDS = {
    "_damaged",
    "_code",
    "_found",
    "_name",
    "_refusal",
    "_refused",
    "damaged",
    "explain",
    "extra_of",
    "is_other_type",
    "is_unreadable",
    "leave_without_room",
    "of_disk",
    "refusal_code",
    "say_server_refuses",
    "sentence",
    "syntax",
    "described",
}
"""Functions that say in words of ours what a foreign exception is."""
HARMLESS = {"isinstance", "type", "append", "_tell_loop"}
LOGS = {"debug", "info", "warning", "error", "critical", "exception", "failed", "_failed", "count_failure", "_leaves"}
"""Lines of a role's log, for who runs it: they name the exception."""
LOOKED_AT = {"_TOO_SMALL not in str(error)", "'depth' in str(again)", "'out of range' in str(again)"}
LOOKED_AT |= {"re.search('line (\\\\d+)', str(error))", "_syntax(str(error))", "_UNEVEN.search(str(error))"}
"""Where a text is looked at, and not shown."""


def shown(source: str) -> Iterator[tuple[int, str]]:
    """Yield where the text of a foreign exception may get into a message."""
    tree = ast.parse(source)
    around = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        caught = {each.id for each in ast.walk(handler.type) if isinstance(each, ast.Name)}
        if caught <= OWN:
            continue
        for node in ast.walk(handler):
            if not isinstance(node, ast.Name) or node.id != handler.name:
                continue
            if not _harmless(node, around):
                yield node.lineno, ast.unparse(around[node])


def _harmless(name: ast.Name, around: dict[ast.AST, ast.AST]) -> bool:
    parent = around[name]
    if isinstance(parent, ast.Attribute):
        return parent.attr not in ("args", "msg", "message", "reason")
    if isinstance(parent, ast.Call) and name in parent.args:
        called = parent.func.attr if isinstance(parent.func, ast.Attribute) else ast.unparse(parent.func)
        return called in IN_WORDS | HARMLESS | LOGS or ast.unparse(around[parent]) in LOOKED_AT
    # `raise ... from error` keeps the cause for who debugs, and shows it to nobody else.
    return isinstance(parent, ast.Raise | ast.Compare | ast.IfExp | ast.Tuple)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_message_has_the_text_of_a_foreign_exception(room: str) -> None:
    offences = [
        f"{file.relative_to(ROOT)}:{line}: {text}"
        for file in sorted((ROOT / room).rglob("*.py"))
        for line, text in shown(file.read_text(encoding="utf-8"))
    ]
    assert not offences, "say in words of your own what was found, or name the wrapper in IN_WORDS"


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("raise WrongConfiguration(f'{error}')", True),
        ("raise WrongConfiguration(f'{error!r}')", True),
        ("raise WrongConfiguration(str(error))", True),
        ("complain('x: %s' % error)", True),
        ("complain(error.args[0])", True),
        ("found = error", True),
        ("raise WrongConfiguration(of_disk(error)) from error", False),
        ("log.warning('no tick: %r', error)", False),
        ("raise WrongConfiguration(f'{type(error).__name__}') from None", False),
    ],
)
def test_the_test_sees_it(body: str, seen: bool) -> None:
    assert bool([*shown(f"try:\n    pass\nexcept (OSError, ValueError) as error:\n    {body}\n")]) == seen
