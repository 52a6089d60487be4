"""Rule 4 of the house: every constant and every bound stands once, and no setting is without effect.

The exceptions are listed, and the lists can only get shorter.
"""

import ast
import operator
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from tests.test_house import ROOMS, parsed
from tests.test_imports import ROOT, modules

# Constants of one name and one value in files that mean different things by it.
COINCIDENCES = {
    "BUFFER_BYTES",
    "KEPT",
    "LOOK_EVERY_S",
    "MOST",
    "POLL_MS",
    "UNIFORM",
}
LEAST = 2048
# Numbers that say nothing of their own: powers and their first multiples, and what counts as one.
ROUND = {digit * 10**power for digit in (1, 2, 5) for power in range(3, 19)} | {2**power for power in range(11, 65)}
# Numbers that stand in several files without being one bound.
REPEATED = {
    3_000: "a lease, and a time that a broker may take",
    3_650: "days: of a longest log, and between two ticks",
    4_000: "visits of the demo, and bytes of a log's end",
    60_000: "a minute",
    2**31 - 1: "the largest integer of 32 bits",
    2**32 - 1: "all bits of 32",
}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.Div: operator.truediv,
}


def value(node: ast.AST) -> Any:
    """Return the value of a literal, or of numbers that are combined; None: neither."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = value(node.left), value(node.right)
        if {type(left), type(right)} <= {int, float}:
            return OPERATORS[type(node.op)](left, right)
    return None


def numbers(node: ast.AST) -> Iterator[float]:
    found = value(node)
    if type(found) in {int, float}:
        yield found
        return
    for child in ast.iter_child_nodes(node):
        yield from numbers(child)


def trees() -> dict[str, ast.Module]:
    # What the client repeats is held against the service by tests/clients/test_contract.py.
    paths = [path for room in ROOMS if room != "clients" for path in modules(room)]
    return {str(path.relative_to(ROOT)): parsed(path) for path in paths}


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the name, without leading underscores, and the value of each constant of a module."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and target.id.isupper() and (assigned := getattr(node, "value", None)):
                found = value(assigned)
                yield target.id.strip("_"), ast.unparse(assigned) if found is None else repr(found)


def test_no_constant_is_defined_twice() -> None:
    files: dict[tuple[str, str], set[str]] = defaultdict(set)
    for file, tree in trees().items():
        for constant in constants(tree):
            files[constant].add(file)
    assert {name for (name, _), where in files.items() if len(where) > 1} == COINCIDENCES


def test_no_bound_is_written_in_two_files() -> None:
    files: dict[float, set[str]] = defaultdict(set)
    for file, tree in trees().items():
        for number in numbers(tree):
            files[number].add(file)
    particular = {number: where for number, where in files.items() if number > LEAST and number not in ROUND}
    assert {number for number, where in particular.items() if len(where) > 1} == set(REPEATED)


def test_a_repeated_bound_would_be_found() -> None:
    assert list(numbers(ast.parse("f(64 * 1024 + 1, [3 * 7], -2.5)"))) == [65_537, 21, 2.5]
    assert list(constants(ast.parse("_A_S = 2 * 3\nB: int = 6\nc = 6\nD = x.y"))) == [
        ("A_S", "6"),
        ("B", "6"),
        ("D", "x.y"),
    ]
