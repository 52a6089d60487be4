"""An AsyncAPI tool reads the contract: the parser of the AsyncAPI initiative, from npm."""

import json
from pathlib import Path

from bowerbird.asyncapi import document
from tests.node import JAVASCRIPT, node

WARNING = 1
"""Up to this severity something is wrong; above are hints, such as a newer version of AsyncAPI."""


def validated(path: Path) -> tuple[bool, list[str]]:
    report = json.loads(node(JAVASCRIPT / "validate.js", str(path)))
    return report["valid"], [
        f"{each['path']}: {each['message']}" for each in report["found"] if each["severity"] <= WARNING
    ]


def test_the_document_is_valid() -> None:
    assert validated(Path(__file__).parent.parent.parent / "docs" / "asyncapi.json") == (True, [])


def test_what_is_wrong_would_be_found(tmp_path: Path) -> None:
    wrong = document()
    wrong["channels"]["decisions"]["messages"]["decisions"]["$ref"] = "#/components/messages/nothing"
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    valid, found = validated(tmp_path / "wrong.json")
    assert not valid
    assert found
