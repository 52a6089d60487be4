"""The examples of docs/client.md run as they stand there."""

import doctest
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bowerbird.fake
import bowerbird_client.event_ids

PAGE = Path(__file__).parent.parent.parent / "docs" / "client.md"
SETTINGS = '[policies.front]\nkind = "uniform"\n[placements.front.reward.streams.clicks]\nweight = 1.0\n'


def serve(client: Any, visitor: str) -> str:
    answer = client.decide("front", ["boots", "hat"], {"user": {"name": visitor}}, default="hat")
    client.reward(answer.event_id, "clicks")
    return str(answer.chosen)


def test_the_tests_for_a_users_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "FakeLoop" in block
    )
    (tmp_path / "bowerbird.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    shop = ModuleType("my_shop")
    shop.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_shop", shop)
    names: dict[str, Any] = {"my_shop": shop}
    exec(compile(code, str(PAGE), "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


@pytest.mark.parametrize("module", [bowerbird.fake, bowerbird_client.event_ids], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
