"""Every error that the client raises on purpose.

::

    BowerbirdError
    ├── BadInput      a value that cannot be used; nothing was sent
    ├── BrokerAway    Kafka did not acknowledge what was sent; the log may hold it all the same
    └── NotDecided    a request got no decision in time, and no default was given
"""

import re

MOST_NAMED = 10
"""Names that an error lists; the others are only counted."""
_SHOWN_CHARACTERS = 80
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class BowerbirdError(Exception):
    """The root of the tree."""


class BadInput(BowerbirdError):  # noqa: N818
    """A value that cannot be used.

    Parameters
    ----------
    code
        Stable and for machines, such as ``feature_not_finite``; those of docs/errors.md.
    field
        The parameter, or the path in it, such as ``context.user.age``.
    found
        What was given, as short text; it is cut to 80 characters.
    expected
        What may be given.

    Examples
    --------
    >>> print(BadInput("feature_not_finite", "context.user.age", "inf", "a finite number"))
    context.user.age: found inf, expected a finite number (feature_not_finite)
    """

    def __init__(self, code: str, field: str, found: str, expected: str) -> None:
        super().__init__(code, field, found, expected)
        self.code = code
        self.field = _shortened(field)
        self.found = _shortened(found)
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.field}: found {self.found}, expected {self.expected} ({self.code})"


class BrokerAway(BowerbirdError):  # noqa: N818
    """Kafka did not acknowledge what was sent to it."""


class NotDecided(BowerbirdError):  # noqa: N818
    """A request got no decision, and its caller named no default.

    Parameters
    ----------
    event_id
        The name of the decision that was asked for.
    code
        ``timeout``, ``broker_away``, or the code of the error reply.
    message
        One sentence.
    """

    def __init__(self, event_id: str, code: str, message: str) -> None:
        super().__init__(event_id, code, message)
        self.event_id = event_id
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"decision {self.event_id}: {self.message} ({self.code})"


def _shortened(text: str) -> str:
    r"""Return text that is fit for an error: it does nothing to a terminal, and has at most 80 characters.

    >>> _shortened("a\0b")
    'a\\x00b'
    """
    text = _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
