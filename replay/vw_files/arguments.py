"""The arguments of Vowpal Wabbit with which a file is learned: all of them, but those that say what is read and how."""

import shlex
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from records.errors import WrongConfiguration


class LineFormat(StrEnum):
    """How a file holds examples."""

    TEXT = "vw"
    """Vowpal Wabbit's text; an example of several lines ends with an empty one."""
    JSON = "json"
    """An example is a line of JSON."""
    DSJSON = "dsjson"
    """A decision with its outcome is a line of JSON, as the client libraries of Vowpal Wabbit log it."""


class FileArguments(NamedTuple):
    """What the arguments say.

    Attributes
    ----------
    command
        For Vowpal Wabbit.
    line_format
        None: they name none.
    files
        What they would read.
    written
        The files that Vowpal Wabbit will write.
    """

    command: tuple[str, ...]
    line_format: LineFormat | None
    files: tuple[str, ...]
    written: tuple[str, ...]


_DATA = frozenset(("data", "d"))
_WRITTEN = frozenset(
    (
        "dump_json_weights_experimental",
        "extra_metrics",
        "f",
        "final_regressor",
        "invert_hash",
        "p",
        "predictions",
        "r",
        "raw_predictions",
        "readable_model",
    )
)
_READ = frozenset(("dictionary", "dictionary_path", "feature_mask", "i", "initial_regressor"))
_READ_ONCE = "a file is read once, from its beginning to its end"
_NOT_OURS = "its examples are read in another way"
_REFUSED = {
    "active": "nothing asks it over the network",
    "args": "give the arguments themselves",
    "bfgs": _READ_ONCE,
    "c": _READ_ONCE,
    "cache": _READ_ONCE,
    "cache_file": _READ_ONCE,
    "conjugate_gradient": _READ_ONCE,
    "csv": _NOT_OURS,
    "daemon": "nothing listens on the network",
    "examples": "each file is learned as a whole",
    "foreground": "nothing listens on the network",
    "h": "see Vowpal Wabbit's own documentation",
    "help": "see Vowpal Wabbit's own documentation",
    "k": _READ_ONCE,
    "kill_cache": _READ_ONCE,
    "passes": _READ_ONCE,
    "lda": _NOT_OURS,
    "node": "one process learns",
    "num_children": "one process learns",
    "port": "nothing listens on the network",
    "port_file": "nothing listens on the network",
    "sendto": "one process learns",
    "span_server": "one process learns",
    "span_server_port": "one process learns",
    "svrg": _READ_ONCE,
    "total": "one process learns",
    "unique_id": "one process learns",
    "version": "bowerbird policy show names the build",
}
_OWN = frozenset(("driver_output_off", "no_stdin", "quiet"))
_SHORT = frozenset("cdfhikpr")
_VALUES = _DATA | _WRITTEN | _READ | {"passes"}
"""Arguments whose value is known to follow; of the others the next token may be one."""


def parsed(arguments: str) -> FileArguments:
    """Return what a string of arguments says.

    Raises
    ------
    WrongConfiguration
        An argument cannot be used on a file.

    Examples
    --------
    >>> parsed("--cb_explore_adf --dsjson -d log.json --quiet").command
    ('--cb_explore_adf', '--dsjson')
    """
    command: list[str] = []
    data: list[str] = []
    alone: list[str] = []
    written: list[str] = []
    before = ""
    for name, value, token in _with_values(_tokens(arguments)):
        if name in _DATA:
            data.append(str(value))
        elif name in _WRITTEN or name in _READ:
            written += [str(value)] if name in _WRITTEN else []
            command += [f"{'--' if len(name) > 1 else '-'}{name}", str(value)]
        elif name == "passes" and value == "1":
            continue
        elif name in _REFUSED:
            raise WrongConfiguration(f"--vw-args: found {token}, expected none: {_REFUSED[name]}")
        elif not name and not before.startswith("-") and Path(token).is_file():
            # What follows an argument may be its value.
            alone.append(token)
        elif name not in _OWN:
            command.append(token)
        before = token if value is None else ""
    formats = [each for each in (LineFormat.DSJSON, LineFormat.JSON) if f"--{each}" in command]
    if len(formats) > 1:
        raise WrongConfiguration("--vw-args: found --json and --dsjson, expected one of them")
    # Vowpal Wabbit reads what stands alone, if anything does.
    return FileArguments(tuple(command), formats[0] if formats else None, tuple(alone or data), tuple(written))


def _tokens(arguments: str) -> list[str]:
    try:
        return shlex.split(arguments)
    except ValueError:
        raise WrongConfiguration(f"--vw-args: found {arguments!r}, expected quotation marks that are closed") from None


def _with_values(tokens: Sequence[str]) -> Iterator[tuple[str, str | None, str]]:
    """Yield each argument: its name without dashes ("" for what is none), its value if we know it, and its token."""
    left = iter(tokens)
    for token in left:
        name, value = _split(token)
        if value is None and name in _VALUES and (value := next(left, None)) is None:
            raise WrongConfiguration(f"--vw-args: found {token} at the end, expected a value after it")
        yield name, value, token


def _split(token: str) -> tuple[str, str | None]:
    """Return the name of an argument, "" for what is none, and the value in the same token."""
    if token.startswith("--"):
        name, equals, value = token[2:].partition("=")
        return name, value if equals else None
    if token[:1] == "-" and token[1:2] in _SHORT:
        return token[1], token[2:] or None
    return "", None
