"""Every key of a document is found at the line where it stands."""

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.settings.toml_lines import KeyPath, key_lines

DOCUMENT = '''\
# a = 0
a = 1
[p.front]  # [q]
"w.x".'y z' = """
b = 1
\\""" """"" # c
list = [ 1, { k = 2 },
  [3, 4], # ]
  "]", '#"']
[[t]]
x = { a.b = 1, c = 'q' }
[[t]]
when = 1979-05-27 07:32:00
[t.z]
r=1'''


def test_every_form_of_key_and_value() -> None:
    assert key_lines(DOCUMENT) == {
        ("a",): 2,
        ("p",): 3,
        ("p", "front"): 3,
        ("p", "front", "w.x"): 4,
        ("p", "front", "w.x", "y z"): 4,
        ("p", "front", "list"): 7,
        ("p", "front", "list", 0): 7,
        ("p", "front", "list", 1): 7,
        ("p", "front", "list", 1, "k"): 7,
        ("p", "front", "list", 2): 7,
        ("p", "front", "list", 2, 0): 7,
        ("p", "front", "list", 2, 1): 7,
        ("p", "front", "list", 3): 7,
        ("p", "front", "list", 4): 7,
        ("t",): 10,
        ("t", 0): 10,
        ("t", 0, "x"): 11,
        ("t", 0, "x", "a"): 11,
        ("t", 0, "x", "a", "b"): 11,
        ("t", 0, "x", "c"): 11,
        ("t", 1): 12,
        ("t", 1, "when"): 13,
        ("t", 1, "z"): 14,
        ("t", 1, "z", "r"): 15,
    }


NASTY = st.text(st.sampled_from("ab\"'\\#[]{}=,.\n é"), max_size=8)
KEYS = st.text(st.sampled_from("ab.\"'#]=- é"), min_size=1, max_size=6)


def quoted(text: str) -> str:
    """Write a basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def fenced(text: str) -> str:
    """Write a multi-line string, its line ends as they are."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{escaped}"""'


SCALARS = st.one_of(
    NASTY.map(quoted),
    NASTY.map(fenced),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["true", "false", "1979-05-27T07:32:00Z", "'''a\n''\n#'''", "'[#'"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ " + ", # ]\n ".join(items) + " ]"),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda pairs: "{ " + ", ".join(f"{quoted(key)} = {value}" for key, value in pairs.items()) + " }"
        ),
    ),
    max_leaves=6,
)


def paths(tree: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Return every path of a parsed document."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*above, key)
        yield from paths(value, (*above, key))


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_law_the_paths_are_the_parsers_and_each_line_holds_its_key(tables: dict[str, dict[str, str]]) -> None:
    text = ""
    starts: dict[KeyPath, int] = {}
    for table, pairs in tables.items():
        starts[table,] = text.count("\n") + 1
        text += f"[{quoted(table)}] # ]\n"
        for key, value in pairs.items():
            starts[table, key] = text.count("\n") + 1
            text += f"{quoted(key)} = {value} # [\n"
    lines = key_lines(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    assert {path: line for path, line in lines.items() if len(path) <= 2} == starts
