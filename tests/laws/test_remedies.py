"""Every sentence with which something stops names a command that ends the trouble, and a test runs that command.

The sentences are found in the source: each is a :class:`records.errors.StateRefused`, whose last part says what to do.
"""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import typer.main

from bowerbird.cli import app

ROOT = Path(__file__).parents[2]
PACKAGES = ("archive", "bowerbird", "embedded", "policies", "records", "rewards", "stream")
"""Where a role's sentences come from; what reads logs for an evaluation stops nothing."""
COMMAND = re.compile("`bowerbird ([^`]+)`")
REAL = "tests/real/"
RUN_BY = {
    "--version": "tests/bowerbird/test_cli.py",
    "check": f"{REAL}test_remedies.py::test_what_is_set_back_is_right_again",
    "policy rebuild": f"{REAL}test_remedies.py::test_a_role_that_may_not_go_on_names_the_command_that_ends_it",
    "policy rebuild --accept-loss": f"{REAL}test_recover_without_archive.py",
    "policy rebuild --archive": f"{REAL}test_controls.py",
    "policy rebuild --until": f"{REAL}test_controls.py",
    "policy show": f"{REAL}test_commands.py",
    "recover": f"{REAL}test_remedies.py::test_a_role_that_may_not_go_on_names_the_command_that_ends_it",
    "recover --accept-loss": f"{REAL}test_remedies.py::test_input_that_was_removed_unread_is_given_up_by_a_command",
    "recover --archive": f"{REAL}test_recover_archive.py",
    "recover --discard-other-log": f"{REAL}test_remedies.py::test_a_redis_of_another_log_is_discarded_by_a_command",
    "topics create": f"{REAL}test_commands.py",
    "worker --roles": f"{REAL}test_worker.py",
}
"""By whom each command is run."""
WITHOUT = ("run the command again",)
"""What says that no other command is needed."""


class Remedy(NamedTuple):
    """What a sentence says to do, and where it stands."""

    where: str
    text: str


def refusals() -> Iterator[Remedy]:
    """Yield the remedy of every refusal in the source."""
    for package in PACKAGES:
        for path in sorted(set((ROOT / package).rglob("*.py")) - {ROOT / "archive" / "reader.py"}):
            tree = ast.parse(path.read_text())
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            for call in calls:
                if isinstance(call.func, ast.Name) and call.func.id in ("StateRefused", "LossDetected"):
                    name = str(path.relative_to(ROOT))
                    module = import_module(name.removesuffix(".py").replace("/", "."))
                    for text in _texts(call.args[-1], module):
                        yield Remedy(f"{name}:{call.lineno}", text)


def _texts(node: ast.expr, module: ModuleType) -> list[str]:
    """Return a text as it is read, for each case, with NAME where something is filled in; constants are looked up."""
    match node:
        case ast.Constant(value=str(value)):
            return [value]
        case ast.JoinedStr(values=parts):
            return ["".join(each) for each in product(*(_texts(part, module) for part in parts))]
        case ast.FormattedValue(value=value):
            return _texts(value, module)
        case ast.IfExp(body=one, orelse=other):
            return _texts(one, module) + _texts(other, module)
        case ast.Name(id=name) if isinstance(getattr(module, name, None), str):
            return [str(getattr(module, name))]
        case ast.Call(func=ast.Name(id=name)) if hasattr(module, name):
            return [str(getattr(module, name)("NAME"))]
    return ["NAME"]


REMEDIES = list(refusals())


def commands(text: str) -> list[str]:
    """Return the commands of a text, without what is filled in."""
    return [" ".join(re.findall(r"(?<!\S)(?:--)?[a-z][a-z-]*(?!\S)", command)) for command in COMMAND.findall(text)]


def test_there_are_refusals() -> None:
    assert len(REMEDIES) > 30


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.where)
def test_every_refusal_names_a_command_that_a_test_runs(remedy: Remedy) -> None:
    named = commands(remedy.text) or ["again" for words in WITHOUT if words in remedy.text]
    assert named, remedy.text
    for command in named:
        if command != "again":
            assert command in RUN_BY, remedy.text


@pytest.mark.parametrize("command", RUN_BY)
def test_every_command_that_is_named_is_there(command: str) -> None:
    node = typer.main.get_command(app)
    words = command.split()
    while words and not words[0].startswith("--"):
        node = node.commands[words.pop(0)]  # type: ignore[attr-defined]
    options = {option for each in node.params for option in each.opts}
    assert set(words) <= options


@pytest.mark.parametrize("command", RUN_BY)
def test_the_tests_that_run_the_commands_are_there(command: str) -> None:
    path, _, test = RUN_BY[command].partition("::")
    source = (ROOT / path).read_text()
    assert f"def {test}" in source
    # It runs what a sentence names, or the words of the command.
    assert "run_named(" in source or all(word.strip("-") in source for word in command.split())
