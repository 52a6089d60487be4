"""What Vowpal Wabbit itself says it has read: its audit, turned back into names and values."""

import os
import tempfile
from typing import Any, NamedTuple

import pylibvw

from policies.vw.text import unescape

Line = dict[str, dict[str, Any]]
"""Namespace as written, feature's name, what was read: a number, a string, or a dict of a list's items by index."""


class Read(NamedTuple):
    """What was read of one decision: a line an action, the context's namespaces (lower case) in each."""

    context: list[Line]
    actions: list[Line]
    indices: dict[str, int]


class Auditor:
    """A workspace that audits, for one test; ``close`` it."""

    def __init__(self, arguments: str = "--cb_explore_adf") -> None:
        options = [*arguments.split(), "--hash=all", "--driver_output_off", "--no_stdin", "--audit", "--noconstant"]
        self._workspace = pylibvw.vw(options)

    def close(self) -> None:
        self._workspace.finish()

    def read(self, text: str) -> Read:
        """Predict a text and return what the audit tells."""
        with tempfile.TemporaryFile() as output:
            out = os.dup(1)
            os.dup2(output.fileno(), 1)
            try:
                lines = self._workspace._parse(text)
                self._workspace.predict_multi(lines)
                self._workspace._finish_example_multi_ex(lines)
            finally:
                os.dup2(out, 1)
                os.close(out)
            output.seek(0)
            rows = output.read().decode().split("\n")
        context, actions, indices = [], [], {}
        for row in rows[1::2]:
            shared: Line = {}
            own: Line = {}
            for entry in row.split("\t")[1:]:
                name, index, value, _ = entry.rsplit(":", 3)
                namespace, feature = name.split("^", 1)
                indices[name] = int(index)
                _put(shared if namespace[0].islower() else own, namespace, feature, float(value))
            context.append(shared)
            actions.append(own)
        return Read(context, actions, indices)


def _put(line: Line, namespace: str, feature: str, number: float) -> None:
    name, equals, text = feature.partition("=")
    value: Any = unescape(text) if equals else number
    name, bracket, position = name.partition("[")
    inside = line.setdefault(unescape(namespace), {})
    if bracket:
        inside.setdefault(unescape(name), {})[int(position[:-1])] = value
    else:
        assert unescape(name) not in inside
        inside[unescape(name)] = value
