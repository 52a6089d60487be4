"""What a program hands to a client becomes JSON: numbers of numpy, integers as ids, and only what is finite."""

import contextlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from numbers import Integral, Real
from typing import Any, cast

from bowerbird_client.contract import ACTION_BYTES, EVENT_ID_BYTES, REWARD_LIMIT
from bowerbird_client.errors import MOST_NAMED, BadInput

DAY_S = 86_400.0

DEFAULT_MARK = "default-"
"""Begins the event id of an answer that no decision stands behind; feedback for it is not sent."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_DEEPEST = 10
_LONGEST_BITS = 1024
"""An integer with more bits is larger than every number of JSON, and its text longer than every id."""
_MOST_ACTIONS = 200_000
"""With so many, a request is larger than every message; an iterator may have no end."""


def text_of(value: object, field: str) -> str:
    """Return an id; an integer is taken as its text.

    >>> text_of(42, "user_id")
    '42'
    """
    if isinstance(value, str):
        if _halved(value):
            raise BadInput("invalid_field", field, "half a character", "text that UTF-8 can hold")
        # What a subclass makes of itself, as an enumeration does, is not its text.
        return str.__str__(value)
    if not isinstance(value, bool) and isinstance(value, Integral) and int(value).bit_length() <= _LONGEST_BITS:
        return str(int(value))
    raise BadInput("invalid_field", field, shown(value), "a string, or an integer")


def number_of(value: object, field: str) -> float:
    """Return the value of a feedback.

    >>> number_of(float("nan"), "value")
    Traceback (most recent call last):
        ...
    bowerbird_client.errors.BadInput: value: found nan, expected a finite number within ±1e+06 (invalid_field)
    """
    if abs(number := _real(value)) <= REWARD_LIMIT:
        return number
    raise BadInput("invalid_field", field, shown(value), f"a finite number within ±{REWARD_LIMIT:g}")


def places_of(value: object) -> int:
    """Return a number of places.

    >>> places_of(0)
    Traceback (most recent call last):
        ...
    bowerbird_client.errors.BadInput: top: found 0, expected a whole number of at least 1 (invalid_field)
    """
    if not isinstance(value, bool) and isinstance(value, Integral) and 1 <= int(value) < 2**31:
        return int(value)
    raise BadInput("invalid_field", "top", shown(value), "a whole number of at least 1")


def seconds_of(value: object, field: str) -> float:
    """Return a time to wait.

    >>> seconds_of(-1, "timeout_s")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    bowerbird_client.errors.BadInput: timeout_s: found -1, expected seconds, more than 0 and at most 86400 ...
    """
    if 0 < (seconds := _real(value)) <= DAY_S:
        return seconds
    raise BadInput("invalid_field", field, shown(value), f"seconds, more than 0 and at most {DAY_S:g}")


def _real(value: object) -> float:
    """Return a number as Python has it; nan for what is none, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except (ArithmeticError, TypeError, ValueError):
        return math.nan


def flag_of(value: object, field: str) -> bool:
    """Return a bool of Python or numpy.

    >>> flag_of("yes", "activate")
    Traceback (most recent call last):
        ...
    bowerbird_client.errors.BadInput: activate: found 'yes', expected True or False (invalid_field)
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise BadInput("invalid_field", field, shown(value), "True or False")


def event_id_of(value: object) -> str:
    """Return what is fit to be an event id.

    >>> event_id_of("")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    bowerbird_client.errors.BadInput: event_id: found '', expected 1 to 128 bytes without control ...
    """
    text = text_of(value, "event_id")
    if not 0 < len(text.encode()) <= EVENT_ID_BYTES or _CONTROL(text):
        expected = f"1 to {EVENT_ID_BYTES} bytes without control characters"
        raise BadInput("bad_event_id", "event_id", shown(text[:EVENT_ID_BYTES]), expected)
    return text


def feedback_id_of(value: object) -> str:
    """Return the id of a feedback: one that is empty would make repeats of all that have it."""
    text = text_of(value, "id")
    if not text:
        raise BadInput("invalid_field", "id", "''", "a name of this event; without one, it is made here")
    if (size := len(text.encode())) > EVENT_ID_BYTES:
        raise BadInput("bad_id", "id", f"{size} bytes", f"at most {EVENT_ID_BYTES} bytes")
    return text


def shown_action_of(value: object) -> str:
    """Return the id of the action that a feedback is about."""
    text = text_of(value, "action")
    if (size := len(json_of(text))) > ACTION_BYTES:
        raise BadInput("invalid_field", "action", f"{size} bytes of JSON", f"at most {ACTION_BYTES} bytes")
    return text


def own_event_id_of(value: object) -> str:
    """Return the event id of a request; :data:`DEFAULT_MARK` begins those that nobody decided."""
    event_id = event_id_of(value)
    if event_id.startswith(DEFAULT_MARK):
        expected = f"one that does not begin with {DEFAULT_MARK}, the mark of answers that nobody decided"
        raise BadInput("bad_event_id", "event_id", shown(event_id), expected)
    return event_id


def action_of(action: object, field: str) -> Mapping[str, Any]:
    """Return an action as a request has it: an id, or an object with ``id`` and ``features``."""
    if isinstance(action, Mapping):
        try:
            given = dict(action)
        except Exception:
            raise BadInput("invalid_field", field, type(action).__name__, "an object that gives its values") from None
        return {**given, "id": text_of(given["id"], f"{field}.id")} if "id" in given else given
    return {"id": text_of(action, field)}


def actions_of(actions: object) -> list[Mapping[str, Any]]:
    """Return the actions as a request has them; a text alone is no list of its letters."""
    actions = _plain_list(actions, "actions")
    if hasattr(actions, "columns"):
        # Iterating over a frame gives the names of its columns.
        raise BadInput("invalid_field", "actions", type(actions).__name__, "a list, as of a frame's column of ids")
    if isinstance(actions, str | bytes | Mapping) or not isinstance(actions, Iterable):
        raise BadInput("invalid_field", "actions", shown(actions), "a list of ids, or of objects with an id")
    offered = [action_of(action, f"actions[{index}]") for index, action in enumerate(islice(actions, _MOST_ACTIONS))]
    if len(offered) == _MOST_ACTIONS:
        raise BadInput("too_many_actions", "actions", f"{_MOST_ACTIONS} or more", "what one message can hold")
    return offered


def default_of(default: object, actions: Sequence[Mapping[str, Any]], places: int = 2**31) -> tuple[str, ...]:
    """Return the ids of what is shown without a decision; where there is nothing to choose from, any.

    >>> default_of(["hat", "boots"], [{"id": "boots"}, {"id": "hat"}])
    ('hat', 'boots')
    >>> default_of("cap", [{"id": "boots"}, {"id": "hat"}])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    bowerbird_client.errors.BadInput: default: found 'cap', expected the id of one of the actions: boots, ...
    """
    default = _plain_list(default, "default")
    listed = isinstance(default, list | tuple)
    given = list(cast("Iterable[object]", default)) if listed else [default]
    fields = [f"default[{place}]" if listed else "default" for place in range(len(given))]
    chosen_ids = [text_of(each, field) for each, field in zip(given, fields, strict=True)]
    if not chosen_ids:
        raise BadInput("invalid_field", "default", "no id", "the id of an action for each place, best first")
    if len(chosen_ids) > places:
        raise BadInput("invalid_field", "default", f"{len(chosen_ids)} ids", f"at most {places}, one for each place")
    ids = [action["id"] for action in actions if "id" in action]
    for place, chosen in enumerate(chosen_ids):
        if ids and chosen not in ids:
            named = ", ".join(ids[:MOST_NAMED]) + (", …" if len(ids) > MOST_NAMED else "")
            raise BadInput("invalid_field", fields[place], shown(chosen), f"the id of one of the actions: {named}")
        if chosen in chosen_ids[:place]:
            raise BadInput("invalid_field", fields[place], f"{shown(chosen)} twice", "each action once")
    return tuple(chosen_ids)


def json_of(request: Mapping[str, Any] | str) -> bytes:
    """Return a request, or a part of one, as JSON.

    Raises
    ------
    BadInput
        A value is not finite, or nothing that JSON has.
    """
    try:
        text = json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
        return text.encode()
    except Exception:
        # Also what an object of the caller raises when it is read, here or there.
        refusal = None
        with contextlib.suppress(Exception):
            refusal = _refusal(request, "")
        raise refusal or BadInput("invalid_field", "request", "a value that cannot be read", "what JSON has") from None


def _plain_list(value: object, field: str) -> object:
    """Return an array of numpy, and whatever else offers it, as a list."""
    if not hasattr(value, "tolist"):
        return value
    try:
        return value.tolist()
    except Exception:
        raise BadInput("invalid_field", field, type(value).__name__, "an array that gives its values") from None


def _plain(value: Any) -> Any:
    """Return a scalar or an array of numpy, and whatever else offers it, as Python has it."""
    if isinstance(value, Mapping):
        return dict(value)
    if (plain := getattr(value, "tolist", None)) is None:
        raise TypeError(type(value).__name__)
    return plain()


def shown(value: object) -> str:
    """Return what a program has handed over, for an error; what has no text of its own by its type."""
    if type(value).__repr__ is object.__repr__ or isinstance(value, list | tuple | Mapping | set):
        return type(value).__name__
    try:
        return " ".join(repr(value).split())
    except Exception:
        # An integer with thousands of digits, or an object of the caller that has no text.
        return type(value).__name__


def _halved(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _refusal(value: Any, field: str, depth: int = 0) -> BadInput | None:
    """Return the error that names the first value that cannot be sent."""
    if depth > _DEEPEST:
        return BadInput("too_deep", field, "lists or objects within each other", f"at most {_DEEPEST} levels")
    if isinstance(value, Mapping):
        try:
            named = list(value.items())
        except Exception:
            return BadInput("invalid_field", field, type(value).__name__, "an object that gives its values")
        plain = str, int, float, type(None)
        strange = [name for name, _ in named if not isinstance(name, plain) or _refusal(name, "") is not None]
        if strange:
            return BadInput(
                "invalid_field", field or "request", f"the name {shown(strange[0])}", "a name that is a string"
            )
        parts = [(f"{field}.{name}".lstrip("."), part) for name, part in named]
    elif isinstance(value, list | tuple):
        parts = [(f"{field}[{index}]", part) for index, part in enumerate(value)]
    elif isinstance(value, float) and not math.isfinite(value):
        return BadInput("feature_not_finite", field, repr(value), "a finite number")
    elif isinstance(value, str) and _halved(value):
        return BadInput("invalid_field", field, "half a character", "text that UTF-8 can hold")
    elif isinstance(value, int) and value.bit_length() > _LONGEST_BITS:
        return BadInput("feature_not_finite", field, "an integer with hundreds of digits", "a finite number")
    elif value is None or isinstance(value, str | int | float):
        return None
    elif hasattr(value, "tolist"):
        return _refusal(value.tolist(), field, depth + 1)
    else:
        return BadInput("feature_invalid", field, type(value).__name__, "a number, string, bool or list")
    return next((refusal for name, part in parts if (refusal := _refusal(part, name, depth + 1)) is not None), None)
