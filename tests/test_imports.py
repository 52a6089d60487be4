"""The direction of the imports: which package may know which, and who may know a server or a clock."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLIENT = "bowerbird_client"
MAY_IMPORT = {
    "records": set(),
    "policies": {"records"},
    "rewards": {"records"},
    "archive": {"records"},
    "embedded": {"records"},
    # A distribution of its own: it imports nothing of the service, and the service nothing of it.
    "clients": {CLIENT},
    "stream": {"records", "policies", "rewards", "archive"},
    "replay": {"records", "policies", "rewards", "archive"},
    "bowerbird": {"records", "policies", "rewards", "archive", "embedded", "stream", "replay"},
}
SERVERS = {"faust", "mode", "aiokafka", "confluent_kafka", "redis"}
# What would make a pure function depend on when, or in which process, it is called.
IMPURE = {"asyncio", "datetime", "secrets", "socket", "time", "uuid"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the top-level package of every import, also of those inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, package if node.level else (node.module or "").split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value.split(".")[0]


def offences(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imported(path.read_text(encoding="utf-8"), package)
        if name in forbidden
    ]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_arrow_points_back(package: str) -> None:
    ours = set(MAY_IMPORT) | {CLIENT, "tests", "benchmarks"}
    assert modules(package), f"{package} has no modules: was it moved?"
    assert offences(package, ours - MAY_IMPORT[package] - {package}) == []


@pytest.mark.parametrize("package", sorted(set(MAY_IMPORT) - {"clients", "embedded", "stream"}))
def test_only_stream_knows_the_servers(package: str) -> None:
    assert offences(package, SERVERS) == []


@pytest.mark.parametrize("package", ["records", "policies", "rewards"])
def test_the_core_has_no_clock_and_no_chance_of_its_own(package: str) -> None:
    assert offences(package, IMPURE) == []
    assert [f"{path.name}: {use}" for path in modules(package) for use in global_chance(path.read_text())] == []


def global_chance(source: str) -> list[str]:
    """Name every use of the module `random` but its class `Random`, which has a seed of its own."""
    uses = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            uses += [alias.name for alias in node.names if alias.name != "Random"]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "random" and node.attr != "Random":
            uses.append(f"random.{node.attr}")
    return uses


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("import random\nrandom.Random(1).random()", []),
        ("import random\nrandom.random()", ["random.random"]),
        ("from random import Random, shuffle", ["shuffle"]),
    ],
)
def test_chance_with_a_seed_is_no_global_chance(source: str, uses: list[str]) -> None:
    assert global_chance(source) == uses


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import stream.kafka.log", ["stream"]),
        ("from stream import log", ["stream"]),
        ("def f():\n    from faust import App", ["faust"]),
        ("from . import rules", ["policies"]),
        ("import importlib\nimportlib.import_module('redis.asyncio')", ["importlib", "redis"]),
    ],
)
def test_every_way_to_import_is_seen(source: str, names: list[str]) -> None:
    assert [name for _, name in imported(source, "policies")] == names
