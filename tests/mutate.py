"""Switches off one mechanism at a time, on a copy of the tree, and shows the tests that fail.

``python -m tests.mutate [NAME ...]`` runs the mutants of :mod:`tests.mutants` whose names hold one of the words, or all
of them. First all tests that are named must pass on a copy without a patch. Then each mutant gets a copy of its own;
it is killed when every test that it names fails, by an assertion and not by an error. Exit code 1 when a mutant
survives, or its patch no longer applies.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.mutants import MUTANTS, Mutant
from tests.test_imports import MAY_IMPORT

ROOT = Path(__file__).parent.parent
PARTS = (*MAY_IMPORT, "docs", "studies", "tests", "pyproject.toml")
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*")
TEST_TIMEOUT_S = 240
RUN_TIMEOUT_S = 600
BY_ASSERTION = re.compile(r"AssertionError|assert |Failed: DID NOT RAISE|records\.errors\.")
ORIGIN = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1]).resolve()
for name in sys.argv[2:]:
    found = pathlib.Path(importlib.import_module(name).__file__).resolve()
    assert found.is_relative_to(root), f"{name} comes from {found}"
"""


@dataclass(frozen=True, slots=True)
class Case:
    """What became of one test: ``outcome`` is passed, failed, error or skipped."""

    outcome: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of tests on a copy, and how it ended; the cases of a test are those of all its parameters."""

    exit_code: int
    output: str
    cases: dict[str, list[Case]]

    def cases_of(self, test: str) -> list[Case]:
        """Return the cases of a test, given its node id."""
        return self.cases.get(reported(test), [])

    def failure_of(self, test: str) -> str | None:
        """Return the message of a test that failed by an assertion, or None."""
        failed = [case.message for case in self.cases_of(test) if case.outcome == "failed"]
        return next((message for message in failed if BY_ASSERTION.match(message)), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: ``failed`` names each test that did its work and how it failed."""

    mutant: Mutant
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)
    survived: tuple[str, ...] = ()
    problem: str = ""

    @property
    def killed(self) -> bool:
        """Whether every test that should fail has failed."""
        return not self.survived and not self.problem


def copy_tree(target: Path, mutant: Mutant | None = None) -> None:
    """Copy what the tests need, and apply a patch.

    Raises
    ------
    LookupError
        The patch does not apply.
    """
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=NOT_COPIED)
        else:
            shutil.copy2(source, target / part)
    if mutant is not None:
        patched = target / mutant.file
        patched.write_text(mutant.apply(patched.read_text(encoding="utf-8")), encoding="utf-8")


def environment(tree: Path) -> dict[str, str]:
    """Return an environment in which the copy wins over the installed checkout, in children too."""
    ours = {name: content for name, content in os.environ.items() if not name.startswith(("BOWERBIRD_", "PYTEST_"))}
    if cache := os.environ.get("BOWERBIRD_CACHE"):
        ours["BOWERBIRD_CACHE"] = cache
    # No bytecode: what was patched within the second of another write would not be compiled again.
    paths = f"{tree}{os.pathsep}{tree / 'clients' / 'python'}"
    paths = f"{tree}{os.pathsep}{tree / 'clients' / 'python'}"
    return ours | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "check"}


def check_origin(tree: Path) -> None:
    """Assert that Python takes the packages from the copy."""
    packages = [part for part in PARTS if (ROOT / part / "__init__.py").exists()]
    modules = [*packages, "rewards.store", "stream.roles.join", "policies.draw", "tests.mutants"]
    subprocess.run(
        [sys.executable, "-c", ORIGIN, str(tree), *modules], cwd=tree, env=environment(tree), check=True, timeout=60
    )


def run_tests(tree: Path, tests: Sequence[str], timeout: float | None = None, processes: int = 0) -> Ran:
    """Run tests in a copy, each in at most ``TEST_TIMEOUT_S``; ``processes``: a file stays in one of so many."""
    report = tree / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    command += [f"--rootdir={tree}", f"--timeout={TEST_TIMEOUT_S}", f"--junitxml={report}"]
    command += [f"--numprocesses={processes}", "--dist=loadfile", *tests]
    done = subprocess.run(
        command,
        cwd=tree,
        env=environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    return Ran(done.returncode, done.stdout, read_report(report) if report.exists() else {})


def read_report(report: Path) -> dict[str, list[Case]]:
    """Return the cases in a report in JUnit's format, by the test's name in it."""
    cases: dict[str, list[Case]] = {}
    for testcase in ElementTree.parse(report).iter("testcase"):
        case = Case("passed")
        for tag, outcome in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
            if (problem := testcase.find(tag)) is not None:
                case = Case(outcome, problem.get("message", ""))
        name = testcase.get("name", "").partition("[")[0]
        cases.setdefault(f"{testcase.get('classname', '')}.{name}", []).append(case)
    return cases


def reported(test: str) -> str:
    """Return the name that a report gives to a node id.

    >>> reported("tests/laws/test_store.py::TestMemoryStore::test_offsets_never_go_back")
    'tests.laws.test_store.TestMemoryStore.test_offsets_never_go_back'
    """
    path, *names = test.split("::")
    return ".".join((path.removesuffix(".py").replace("/", "."), *names))


def judge(mutant: Mutant) -> Verdict:
    """Run the tests of a mutant on a copy of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bowerbird-mutant-") as folder:
        tree = Path(folder)
        try:
            copy_tree(tree, mutant)
            ran = run_tests(tree, mutant.tests, RUN_TIMEOUT_S)
        except LookupError as error:
            return Verdict(mutant, time.monotonic() - began, problem=f"the patch no longer applies: {error}")
        except subprocess.TimeoutExpired:
            return Verdict(mutant, time.monotonic() - began, problem=f"its tests hang ({RUN_TIMEOUT_S} s)")
    failed = {test: message for test in mutant.tests if (message := ran.failure_of(test)) is not None}
    survived = tuple(test for test in mutant.tests if test not in failed)
    return Verdict(mutant, time.monotonic() - began, failed, survived, _problem(ran, survived))


def _problem(ran: Ran, survived: Sequence[str]) -> str:
    """Return why tests did not do their work, where it is anything but that they pass."""
    for test in survived:
        cases = ran.cases_of(test)
        if not cases:
            return f"{test} did not run:\n{ran.output[-2000:]}"
        if others := [case.message for case in cases if case.outcome != "passed"]:
            return f"not by an assertion: {first_line(others[0])}"
    return "" if ran.exit_code in (0, 1) else f"pytest ended with {ran.exit_code}"


def first_line(message: str) -> str:
    """Return the first line of a message, cut to a readable length."""
    lines = message.strip().splitlines() or [""]
    return lines[0][:200]


def passes_unpatched(tests: Sequence[str], processes: int, console: Console) -> bool:
    """Tell whether every test passes on a copy without a patch."""
    with tempfile.TemporaryDirectory(prefix="bowerbird-unpatched-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        check_origin(tree)
        began = time.monotonic()
        ran = run_tests(tree, tests, processes=processes)
    bad = [test for test in tests if {case.outcome for case in ran.cases_of(test)} != {"passed"}]
    if ran.exit_code == 0 and not bad:
        count = sum(map(len, ran.cases.values()))
        console.print(f"without a patch all pass: {len(tests)} tests, {count} cases, {time.monotonic() - began:.0f} s")
        return True
    console.print(f"[red]without a patch these do not pass:[/red] {escape(', '.join(bad))}")
    console.print(ran.output[-6000:], markup=False, highlight=False)
    return False


def table_of(verdicts: Sequence[Verdict]) -> Table:
    """Return the table of the report."""
    table = Table(box=box.SIMPLE, show_lines=True)
    for heading in ("mechanism", "switched off in", "test that fails", "how it fails", "s"):
        table.add_column(heading, overflow="fold")
    for verdict in verdicts:
        tests = [test.rpartition("::")[2] for test in verdict.failed]
        how = [first_line(message)[:90] for message in verdict.failed.values()]
        if not verdict.killed:
            word = "NOT JUDGED" if verdict.problem else "SURVIVED"
            tests = [f"{word}: {test.rpartition('::')[2]}" for test in verdict.survived] or [word]
            how = [first_line(verdict.problem) or "it passes"]
        cells = (verdict.mutant.mechanism, verdict.mutant.file, "\n".join(tests), "\n".join(how))
        style = None if verdict.killed else "red"
        table.add_row(*map(escape, cells), f"{verdict.seconds:.0f}", style=style)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a part of a mechanism's or a file's name")
    parser.add_argument("--list", action="store_true", help="show the mutants and run nothing")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="mutants at once")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    chosen = [mutant for mutant in MUTANTS if not options.names or any(name in mutant.name for name in options.names)]
    if not chosen:
        parser.error(f"no mutant's name holds {' or '.join(options.names)}: see --list")
    if options.list:
        for mutant in chosen:
            console.print(mutant.name, markup=False, highlight=False)
        return 0
    tests = list(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
    if not passes_unpatched(tests, options.jobs, console):
        return 1
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for verdict in pool.map(judge, chosen):
            verdicts.append(verdict)
            word = "[green]killed[/green]" if verdict.killed else "[red]NOT KILLED[/red]"
            console.print(f"{len(verdicts):3}/{len(chosen)} {word} {escape(verdict.mutant.name)}", highlight=False)
    console.print(table_of(verdicts))
    alive = [verdict for verdict in verdicts if not verdict.killed]
    console.print(f"{len(verdicts) - len(alive)} of {len(verdicts)} mutants killed")
    for verdict in alive:
        console.print(f"{verdict.mutant.name}: {verdict.problem or 'survived'}", style="red", markup=False)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
