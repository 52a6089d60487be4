"""Typed features to Vowpal Wabbit's text format. Nothing else of Bowerbird writes what Vowpal Wabbit reads.

One decision is one text, a line for the context and one an action::

    shared |user age:31 tags[0]=new |page topic=cars
    |Item brand=b7 price:9.5
    0:-1.0:0.25 |Item brand=b2 price:12

**Namespaces.** ``-q``, ``--ignore`` and their like know a namespace by its first letter. A context's namespace has a
lower case letter and an action's the same in upper case: the first ASCII letter of its name, or the one that
``--letter NAMESPACE=x`` gives, or ``z`` if there is no letter. It is a function of the name alone, so that a feature
keeps its weight whatever other namespaces a request holds. Two namespaces of one context, or of one action, that share
a letter are refused. A name that starts with that letter in lower case is written with the letter in its place
(``user`` is ``|user``, an action's ``item`` is ``|Item``), any other after letter and slash (``User`` is ``|u/User``).

**Features.** A number is ``name:number``; a string or a bool ``name=value``; the items of a list ``name[0]:number`` or
``name[0]=value``. In names and values every byte of their UTF-8 outside ``[A-Za-z0-9_.-]`` is written ``%XX``, and the
first digit of a name that has only digits, since Vowpal Wabbit may take such a name for an index. So the text can be
read back, and no name ends a line, a namespace or a feature. Namespaces and features are sorted by name: the same
features give the same text. What is nearer to zero than
2^-66 is written ``0``, which Vowpal Wabbit drops; it computes in single precision.

**Ids.** An action that brings no feature is written as if it had brought ``{"action": {"id": "a1"}}``: ``|Action
id=a1``, so that ``-q uA`` crosses its id with the context. The id of an action that brings features is no feature. With
``--id_as_feature`` every action's id is one, ``id=a1`` in a namespace of its own, ``|_``, so that ``-q u_`` crosses it,
and nothing else is added.

**Labels.** ``0:cost:propensity`` before the line of the action that was shown.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import quote, unquote

import msgspec

from policies.bounded_cache import BoundedCache
from policies.features import Action, Features, number_refused
from records.errors import BadInput
from records.limits import FEATURE_LIMIT

_Plan: TypeAlias = list[tuple[str, str, str]]
"""Of each feature in the order in which they are written: its name, and how it begins as text and as a number."""

# What is kept of plans takes some 10 MB at most.
_MOST_PLANS = 500
_MOST_NAMES = 50
_LONGEST_NAME = 128
_SAFE = re.compile(r"[A-Za-z0-9_.-]*").fullmatch
# The shortest digits that read back as the same double, as repr() writes them, at a fifth of its time.
_digits: Callable[[float], bytes] = msgspec.json.Encoder().encode
_NEAR_ZERO = 2.0**-66
_LETTERS = re.compile(r"[A-Za-z]").search

ID_NAMESPACE = "action"
"""The namespace in which the id of an action that brings no feature is one."""


def escape(text: str) -> str:
    """Return text with every byte outside ``[A-Za-z0-9_.-]`` as ``%XX``.

    >>> escape("|user:3 é~")
    '%7Cuser%3A3%20%C3%A9%7E'
    """
    return text if _SAFE(text) else quote(text, safe="").replace("~", "%7E")


def escape_name(text: str) -> str:
    """Return a feature's name escaped, so that it is not a number either.

    >>> escape_name("2024"), escape_name("2024-q1")
    ('%32024', '2024-q1')
    """
    return f"%{ord(text[0]):X}{text[1:]}" if text.isascii() and text.isdigit() else escape(text)


def unescape(text: str) -> str:
    """Return what :func:`escape` or :func:`escape_name` was given."""
    return unquote(text)


def number_text(value: float) -> str:
    """Return a number as Vowpal Wabbit reads it: what is nearly zero is zero.

    Its reader takes long digits times 1e-21 or less for zero, and wraps exponents of ten below -127 around: 1e-239 is
    1e17 to it, and 1e-155 infinity.
    """
    return "0" if -_NEAR_ZERO < value < _NEAR_ZERO else _digits(value).decode()


def letter_of(namespace: str, letters: Mapping[str, str]) -> str:
    """Return the letter of a namespace, in lower case; ``letters`` are those that arguments give.

    >>> letter_of("user", {}), letter_of("2nd", {}), letter_of("user", {"user": "x"})
    ('u', 'n', 'x')
    """
    letter = letters.get(namespace)
    if letter is None:
        first = _LETTERS(namespace)
        letter = first[0].lower() if first else "z"
    return letter


def _text_bytes(key: object, text: str) -> int:
    return len(text)


class Writer:
    """Writes the text of decisions, and keeps that of known actions.

    Parameters
    ----------
    letters
        First letter, lower case, of namespaces that have another than their own.
    id_as_feature
        Write every action's id as the feature ``id=...`` of the namespace ``_``, which is no other's. Otherwise only
        the id of an action without features is written, in the namespace ``action``.
    size, max_bytes
        How many actions' texts are kept, and how much text.

    Examples
    --------
    >>> writer = Writer()
    >>> print(writer.example({"user": {"age": 31}}, [Action("a", {"item": {"price": 9.5}}), Action("b", {})]))
    shared |user age:31
    |Item price:9.5
    |Action id=b
    """

    def __init__(
        self,
        letters: Mapping[str, str] | None = None,
        id_as_feature: bool = False,
        size: int = 10_000,
        max_bytes: int = 32 * 2**20,
    ) -> None:
        self._letters = dict(letters or {})
        self._id_as_feature = id_as_feature
        self._action: BoundedCache[Action, str] = BoundedCache(
            self._write_action, _text_bytes, max_items=size, max_weight=max_bytes
        )
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._context_namespace: BoundedCache[str, str] = BoundedCache(
            self._lower, _text_bytes, max_items=1000, max_weight=2**20
        )

    def example(self, context: Features, actions: Sequence[Action]) -> str:
        """Return the text of a decision that is to be predicted.

        Raises
        ------
        BadInput
            Two namespaces share a letter, or a number is not finite or too large.
        """
        return "\n".join([self._shared(context), *self._action.many(actions)])

    def labelled(
        self, context: Features, actions: Sequence[Action], chosen: int, propensity: float, cost: float
    ) -> str:
        """Return the text of a decision that is to be learned."""
        lines = [self._shared(context), *self._action.many(actions)]
        lines[chosen + 1] = f"0:{number_text(cost)}:{number_text(propensity)} {lines[chosen + 1]}"
        return "\n".join(lines)

    def _shared(self, context: Features) -> str:
        if len(context) == 1:
            ((namespace, features),) = context.items()
            return f"shared {self._context_namespace(namespace)}{self._features(features, namespace)}"
        parts = ["shared |"]
        letters: dict[str, str] = {}
        for namespace, features in sorted(context.items()):
            written = self._context_namespace(namespace)
            self._check_letter(letters, written[1], namespace, "context")
            parts.append(f"{written}{self._features(features, namespace)}")
        return " ".join(parts)

    def _write_action(self, action: Action) -> str:
        parts = []
        letters: dict[str, str] = {}
        for namespace, features in sorted(action.features.items()):
            written = "|" + self._namespace(namespace, upper=True)
            self._check_letter(letters, written[1], namespace, f"actions.{action.id}")
            parts.append(f"{written}{self._features(features, namespace)}")
        if self._id_as_feature:
            parts.append(f"|_ id={escape(action.id)}")
        elif not parts:
            parts.append(f"|{self._namespace(ID_NAMESPACE, upper=True)} id={escape(action.id)}")
        return " ".join(parts)

    def _check_letter(self, letters: dict[str, str], letter: str, namespace: str, field: str) -> None:
        other = letters.setdefault(letter, namespace)
        if other != namespace:
            raise BadInput(
                "namespaces_share_letter",
                f"{field}.{namespace}",
                f"the letter {letter}, which is that of {other!r} already",
                f"another name, or the argument --letter {namespace}=x",
            )

    def _lower(self, namespace: str) -> str:
        return "|" + self._namespace(namespace, upper=False)

    def _namespace(self, namespace: str, upper: bool) -> str:
        letter = letter_of(namespace, self._letters)
        prefix = letter.upper() if upper else letter
        return prefix + escape(namespace[1:]) if namespace[:1] == letter else f"{prefix}/{escape(namespace)}"

    def _features(self, features: Mapping[str, object], namespace: str) -> str:
        """Return the features of a namespace, each after a space."""
        plan = self._plans.get(tuple(features)) or self._plan(features)
        written = []
        for name, as_text, as_number in plan:
            value = features[name]
            if type(value) is str:
                written.append(as_text + (value if value.isalnum() and value.isascii() else escape(value)))
            elif type(value) is float or type(value) is int:
                if not -FEATURE_LIMIT < value < FEATURE_LIMIT:
                    raise number_refused(value, f"{namespace}.{name}")
                written.append(as_number + number_text(value))
            elif type(value) is bool:
                written.append(as_text + ("true" if value else "false"))
            elif type(value) is list:
                written.append(self._list(value, escape(name), f"{namespace}.{name}"))
            else:
                type_name = type(value).__name__
                raise BadInput("feature_invalid", f"{namespace}.{name}", type_name, "a number, string, bool or list")
        return "".join(written)

    def _plan(self, features: Mapping[str, object]) -> _Plan:
        """Return how features of these names, in this order, are written: most records have the names of others."""
        plan = [(name, f" {escape_name(name)}=", f" {escape_name(name)}:") for name in sorted(features)]
        if len(features) <= _MOST_NAMES and all(len(name) <= _LONGEST_NAME for name in features):
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[tuple(features)] = plan
        return plan

    @staticmethod
    def _list(items: Sequence[object], name: str, field: str) -> str:
        written = []
        for index, item in enumerate(items):
            if isinstance(item, str):
                written.append(f" {name}[{index}]={escape(item)}")
            elif isinstance(item, int | float) and -FEATURE_LIMIT < item < FEATURE_LIMIT:
                written.append(f" {name}[{index}]:{number_text(float(item))}")
            elif isinstance(item, int | float):
                raise number_refused(item, f"{field}[{index}]")
            else:
                raise BadInput("feature_invalid", f"{field}[{index}]", type(item).__name__, "a number or a string")
        return "".join(written)
