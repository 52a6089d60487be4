"""The examples of the docstrings."""

import doctest
from types import ModuleType

import pytest

from replay.evaluation.report import axis, numbers


@pytest.mark.parametrize("module", [axis, numbers], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
