"""docs/estimators.md lists every estimator, with the paper and the columns that its class names, and no other."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import replay.evaluation.estimators
from replay.evaluation.estimators.adaptive import ADAPTIVE_DR, ADAPTIVE_IPS, REFERENCE
from replay.evaluation.estimators.catalogue import CONTINUOUS, EMBEDDED, ESTIMATORS, SLATES
from replay.evaluation.estimators.estimator import Estimator
from replay.evaluation.estimators.tuning import slope

PAGE = (Path(__file__).parents[4] / "docs" / "estimators.md").read_text()


def classes() -> dict[str, Any]:
    """Every class of the package that says its name and its paper."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(replay.evaluation.estimators.__path__, "replay.evaluation.estimators."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            name = getattr(kind, "name", None)
            if isinstance(name, str) and hasattr(kind, "reference"):
                found[name] = kind
    return found


def listed() -> dict[str, list[str]]:
    """Per name the cells of its row."""
    found = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 5:
            for name in re.findall(r"`([a-z-]+)`", cells[0]):
                found[name] = cells
    return found


CLASSES, LISTED = classes(), listed()


def test_every_estimator_is_listed_and_no_other() -> None:
    assert set(LISTED) == set(CLASSES) | {ADAPTIVE_DR, ADAPTIVE_IPS}
    assert len(CLASSES) > 15
    assert LISTED[ADAPTIVE_DR][4] == REFERENCE


def test_every_function_of_means_is_in_the_catalogue() -> None:
    wanted = {name for name, kind in CLASSES.items() if issubclass(kind, Estimator)}
    assert wanted == {name for family in (ESTIMATORS, EMBEDDED, SLATES, CONTINUOUS) for name in family}


@pytest.mark.parametrize("name", CLASSES)
def test_the_paper_and_the_columns_are_the_class_s(name: str) -> None:
    _, needs, value, when, paper = LISTED[name]
    assert paper == CLASSES[name].reference
    assert value
    assert when
    wanted = getattr(CLASSES[name], "needs", ())
    assert tuple(re.findall(r"`(\w+)`", needs)) == wanted


def test_the_names_of_the_page_are_those_of_the_code() -> None:
    """What is called on the page is there."""
    code = "\n".join(path.read_text() for path in Path(replay.evaluation.estimators.__path__[0]).glob("*.py"))
    called = {name for name in re.findall(r"`([a-z_]+)\(", PAGE) if "_" in name and not name.startswith("sum_")}
    assert {slope.__name__, "balanced"} <= set(re.findall(r"`([a-z_]+)\(", PAGE))
    assert len(called) > 5
    for name in called:
        assert re.search(rf"def {name}\b", code), name
