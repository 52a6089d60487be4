"""Every error that Bowerbird raises on purpose. It is in the lowest layer, so that all may import it.

::

    BowerbirdError
    ├── BadInput             a message or a value that cannot be used: error reply and dead letter, the worker goes on
    ├── WrongConfiguration   settings that contradict themselves or the world: the command ends with exit code 2
    ├── BrokerAway           Kafka did not acknowledge what was sent; the log may hold it all the same
    └── StateRefused         a state that may not be continued: the shard or the policy stops with one sentence
        └── LossDetected     something that was acknowledged is gone
"""

import re

_SHOWN_CHARACTERS = 80
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


RECOVER = "run `bowerbird recover`"
"""What ends a state of the join that may not be continued."""


class BowerbirdError(Exception):
    """The root of the tree."""


class BadInput(BowerbirdError):  # noqa: N818
    """Something that came from outside and cannot be used.

    Parameters
    ----------
    code
        Stable and for machines, such as ``feature_not_finite``.
    field
        Where it stands, such as ``context.user.age``.
    found
        What stands there, as short text; it is cut to 80 characters.
    expected
        What may stand there.

    Examples
    --------
    >>> print(BadInput("feature_not_finite", "context.user.age", "inf", "a finite number"))
    context.user.age: found inf, expected a finite number (feature_not_finite)
    """

    def __init__(self, code: str, field: str, found: str, expected: str) -> None:
        super().__init__(code, field, found, expected)
        self.code = code
        self.field = shorten(field)
        self.found = shorten(found)
        self.expected = expected

    @property
    def message(self) -> str:
        """One sentence that names the field, what was found and what was expected."""
        return f"{self.field}: found {self.found}, expected {self.expected}"

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class WrongConfiguration(BowerbirdError):  # noqa: N818
    """Settings, arguments or a command line that cannot work; exit code 2."""


class BrokerAway(BowerbirdError):  # noqa: N818
    """Kafka did not acknowledge what was sent to it."""


class StateRefused(BowerbirdError):  # noqa: N818
    """A state that may not be continued, since going on would make a reward, a seq or a weight wrong.

    Parameters
    ----------
    what
        The thing that is refused: a shard, a policy, a topic's partition.
    found, expected
        What it is, and what it had to be.
    remedy
        What an operator does next.

    Examples
    --------
    >>> print(StateRefused("shard 0", "seq 7", "seq 9", "run the repair"))
    shard 0: found seq 7, expected seq 9; run the repair
    """

    def __init__(self, what: str, found: str, expected: str, remedy: str) -> None:
        super().__init__(what, found, expected, remedy)
        self.what = what
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}: found {self.found}, expected {self.expected}; {self.remedy}"

    def of_policy(self, name: str) -> "StateRefused":
        """Return the same with the name of the policy, which what was raised from did not know.

        >>> print(StateRefused("pmf", "nan", "probabilities", "run `bowerbird policy rebuild NAME`").of_policy("front"))
        pmf of policy front: found nan, expected probabilities; run `bowerbird policy rebuild front`
        """
        return type(self)(
            f"{self.what} of policy {name}", self.found, self.expected, self.remedy.replace(" NAME", f" {name}")
        )


class LossDetected(StateRefused):
    """Something that was acknowledged is gone: offsets jumped, or a seq is missing."""


def shorten(text: str) -> str:
    """Return text that is fit for an error: printable, at most 80 characters, the cut marked by an ellipsis."""
    text = printable(text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def printable(text: str) -> str:
    r"""Return text that does nothing to a terminal: what controls one is escaped; tabs and line ends stay.

    >>> print(printable("a\0b\x1b[2J"))
    a\x00b\x1b[2J
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def of_disk(error: OSError) -> str:
    """Return why a file cannot be read or written, without its path.

    >>> of_disk(PermissionError(13, "Permission denied", "/a/file"))
    'permission denied'
    """
    return (error.strerror or "an error of the disk").lower()
