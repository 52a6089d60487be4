"""Descriptions of options, from which the help of commands and functions is made."""

from typing import NamedTuple


class Described(NamedTuple):
    """The description of an option, for ``--help`` and for ``help()``.

    Attributes
    ----------
    text
        What the option does.
    metavar
        What the command calls its value.
    each
        The command's name for the option, or for one of its values, if it is another one.
    in_python
        What else a function takes.
    argument
        Whether the command takes it without a name.
    """

    text: str
    metavar: str | None = None
    each: str | None = None
    in_python: str = ""
    argument: bool = False
