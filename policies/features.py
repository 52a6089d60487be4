"""Features on the wire: JSON bytes to typed, bounded values. Every policy learns from these and from nothing else.

A context is ``{namespace: {name: value}}``; a flat object is the namespace ``f``; null is absent, and so is a
namespace in which nothing is left. A value is a number, a string, a bool, a list of numbers or a list of strings. An
action is ``{"id": "a1", "features": ...}``, its features of the same form; other fields of it are no business of a
policy. Where a name stands twice in an object the last one counts.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from policies.bounded_cache import BoundedCache
from records.errors import BadInput
from records.json_errors import described, syntax
from records.limits import FEATURE_LIMIT, Limits

FeatureValue = bool | float | int | str | list[float] | list[str]
Features = dict[str, dict[str, FeatureValue]]
"""Namespace, name, value."""

Buffer: TypeAlias = bytes | msgspec.Raw
"""JSON bytes, also such as a decoder left as they came."""

FLAT_NAMESPACE = "f"
"""The namespace of features that have none."""


class Action(msgspec.Struct, frozen=True, eq=False):
    """One thing that can be chosen. Compared and hashed by identity, so that what was made of it can be kept."""

    id: str
    features: Features
    unknown: tuple[str, ...] = ()
    """Fields that nothing reads."""


_Value = bool | float | int | str | None | list[float | str]
_Namespaces = dict[str, _Value | dict[str, _Value]]


# What needs no second look: the decoder itself checks these bounds, which are those of the default limits where every
# character takes four bytes.
_SURE_NAME_BYTES = 128
_SURE_STRING_BYTES = 1024
_SureName = Annotated[str, Meta(min_length=1, max_length=_SURE_NAME_BYTES // 4)]
_SureValue = (
    bool
    | Annotated[int, Meta(gt=-int(FEATURE_LIMIT), lt=int(FEATURE_LIMIT))]
    | Annotated[float, Meta(gt=-FEATURE_LIMIT, lt=FEATURE_LIMIT)]
    | Annotated[str, Meta(max_length=_SURE_STRING_BYTES // 4)]
)
_Sure = dict[_SureName, _SureValue | dict[_SureName, _SureValue]]


class _WireAction(msgspec.Struct):
    id: str
    features: _Namespaces | None = None


class _StrictAction(_WireAction, forbid_unknown_fields=True):
    """An action without another field, as nearly all are."""


ACTION_FIELDS = ("id", "features")


_decode_context: Callable[[Buffer], _Namespaces | None] = msgspec.json.Decoder(_Namespaces | None).decode
_decode_sure: Callable[[Buffer], dict[str, Any]] = msgspec.json.Decoder(_Sure).decode
_decode_action: Callable[[bytes], _WireAction] = msgspec.json.Decoder(_WireAction).decode
_decode_strict: Callable[[bytes], _StrictAction] = msgspec.json.Decoder(_StrictAction).decode
_decode_fields: Callable[[bytes], dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_context(raw: Buffer, limits: Limits, field: str = "context") -> Features:
    """Return the features of a context.

    Parameters
    ----------
    raw
        JSON: an object or null.
    limits
        What exceeds one of them is refused.
    field
        What errors call it.

    Raises
    ------
    BadInput
        Not JSON, not UTF-8, too large, too deep, or a value that is no feature; it names the field.

    Examples
    --------
    >>> decode_context(b'{"user": {"age": 31, "tags": ["new"]}, "page": null}', Limits())
    {'user': {'age': 31, 'tags': ['new']}}
    >>> decode_context(b'{"age": 31}', Limits())
    {'f': {'age': 31}}
    """
    # A feature takes two bytes at least, so that a short context cannot hold too many.
    if (
        len(raw) <= 2 * limits.max_features
        and len(raw) <= limits.max_request_bytes
        and limits.max_name_bytes >= _SURE_NAME_BYTES
        and limits.max_string_bytes >= _SURE_STRING_BYTES
    ):
        try:
            sure = _decode_sure(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            sure = {}
        for inside in sure.values():
            if type(inside) is not dict or not inside:
                break
        else:
            if sure:
                return sure
        if sure and not any(type(inside) is dict for inside in sure.values()):
            return {FLAT_NAMESPACE: sure}
    _check_size(raw, limits, field)
    try:
        namespaces = _decode_context(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(raw, error, field, None) from None
    return _checked(namespaces, limits, field) if namespaces else {}


def decode_action(raw: bytes, limits: Limits, field: str = "action") -> Action:
    """Return an action, ``{"id": "a1", "features": {...}}``; without ``features`` it has none.

    Raises
    ------
    BadInput
        As :func:`decode_context`, or the id is missing, empty or too long.

    Examples
    --------
    >>> decode_action(b'{"id": "a1", "features": {"price": 9.5}}', Limits(), "actions[3]").features
    {'f': {'price': 9.5}}
    """
    _check_size(raw, limits, field)
    action: _WireAction
    unknown: tuple[str, ...] = ()
    try:
        try:
            action = _decode_strict(raw)
        except msgspec.ValidationError:
            action = _decode_action(raw)
            unknown = tuple(name for name in _decode_fields(raw) if name not in ACTION_FIELDS)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(raw, error, field, "features") from None
    _check_name(action.id, limits, f"{field}.id", "id")
    features = _checked(action.features, limits, f"{field}.features") if action.features else {}
    return Action(action.id, features, unknown)


class ActionCache:
    """The actions seen lately, by their bytes: the same bytes give the same object, decoded and checked once.

    Parameters
    ----------
    limits
        Of the actions.
    size
        How many are kept; and not more than ``max_bytes`` of their JSON.

    Examples
    --------
    >>> catalogue = ActionCache(Limits())
    >>> catalogue.action(b'{"id": "a1"}', "actions[0]") is catalogue.action(b'{"id": "a1"}', "actions[7]")
    True
    """

    def __init__(self, limits: Limits, size: int = 10_000, max_bytes: int = 32 * 2**20) -> None:
        self._limits = limits
        self._actions: BoundedCache[bytes, Action] = BoundedCache(
            lambda raw: decode_action(raw, limits),
            lambda raw, action: len(raw),
            max_items=size,
            max_weight=max_bytes,
        )

    def __len__(self) -> int:
        return len(self._actions)

    def action(self, raw: bytes, field: str) -> Action:
        """Return the action in ``raw``; raises as :func:`decode_action` and keeps nothing then."""
        try:
            return self._actions(raw)
        except BadInput:
            # Decoded again for an error that names the place where it stands this time.
            return decode_action(raw, self._limits, field)

    def actions(self, raws: Sequence[Buffer], field: str = "actions") -> list[Action]:
        """Return the actions of a decision, in order; an error names the first that cannot be used."""
        # One crossing: no JSON holds a zero byte. Where there is one after all, each is looked at by itself.
        keys = b"\0".join(raws).split(b"\0")
        if len(keys) != len(raws):
            keys = list(map(bytes, raws))
        try:
            return self._actions.many(keys)
        except BadInput:
            return [self.action(raw, f"{field}[{index}]") for index, raw in enumerate(keys)]


def _check_size(raw: Buffer, limits: Limits, field: str) -> None:
    if len(raw) > limits.max_request_bytes:
        raise BadInput("too_large", field, f"{len(raw)} bytes", f"at most {limits.max_request_bytes} bytes")


def _check_name(name: str, limits: Limits, field: str, what: str) -> None:
    if not name:
        raise BadInput(f"{what}_empty", field, "an empty one", "at least one character")
    if 4 * len(name) > limits.max_name_bytes and len(name.encode()) > limits.max_name_bytes:
        raise BadInput(
            f"{what}_too_long", field, f"{len(name.encode())} bytes", f"at most {limits.max_name_bytes} bytes"
        )


def _checked(namespaces: _Namespaces, limits: Limits, field: str) -> Features:
    features: Features = {}
    left = limits.max_features
    flat = False
    for namespace, inside in namespaces.items():
        if type(inside) is dict:
            kept, left = _checked_namespace(inside, limits, field, namespace, left)
            if kept:
                _check_name(namespace, limits, f"{field}.{namespace}", "name")
                features[namespace] = kept
        elif inside is not None:
            flat = True
    if flat:
        for namespace, inside in namespaces.items():
            if type(inside) is dict:
                raise BadInput(
                    "features_mixed",
                    f"{field}.{namespace}",
                    "an object next to values",
                    "only objects, or only values",
                )
        kept, left = _checked_namespace(namespaces, limits, field, None, left)  # type: ignore[arg-type]
        return {FLAT_NAMESPACE: kept}
    return features


def _checked_namespace(
    values: dict[str, _Value], limits: Limits, field: str, namespace: str | None, left: int
) -> tuple[dict[str, FeatureValue], int]:
    """Return a namespace without its nulls, and how many features may still come."""
    absent = False
    left -= len(values)
    max_name = limits.max_name_bytes // 4
    max_string = limits.max_string_bytes // 4
    for name, value in values.items():
        if not 0 < len(name) <= max_name:
            _check_name(name, limits, _path(field, namespace, name), "name")
        if type(value) is str:
            if len(value) > max_string:
                _check_string(value, limits, _path(field, namespace, name))
        elif type(value) is float or type(value) is int:
            if not -FEATURE_LIMIT < value < FEATURE_LIMIT:
                raise number_refused(value, _path(field, namespace, name))
        elif value is None:
            absent = True
        elif type(value) is list:
            left -= len(value) - 1
            _check_list(value, limits, _path(field, namespace, name))
    if left < 0:
        raise BadInput("too_many_features", field, "more", f"at most {limits.max_features} features")
    if absent:
        return {name: value for name, value in values.items() if value is not None}, left  # type: ignore[misc]
    return values, left  # type: ignore[return-value]


def _check_list(items: list[float | str], limits: Limits, field: str) -> None:
    if len(items) > limits.max_list:
        raise BadInput("list_too_long", field, f"{len(items)} items", f"at most {limits.max_list}")
    for index, item in enumerate(items):
        if type(item) is not type(items[0]):
            raise BadInput("list_mixed", f"{field}[{index}]", repr(item), "only numbers, or only strings")
        if isinstance(item, str):
            _check_string(item, limits, f"{field}[{index}]")
        elif not -FEATURE_LIMIT < item < FEATURE_LIMIT:
            raise number_refused(item, f"{field}[{index}]")


def _check_string(text: str, limits: Limits, field: str) -> None:
    if 4 * len(text) > limits.max_string_bytes and len(text.encode()) > limits.max_string_bytes:
        raise BadInput(
            "string_too_long",
            field,
            f"{len(text.encode())} bytes",
            f"at most {limits.max_string_bytes} bytes",
        )


def number_refused(value: float, field: str) -> BadInput:
    """Return the error for a number that no policy may see: NaN, infinite or too large."""
    infinite = value != value or value in (math.inf, -math.inf)
    shown = "an integer of many digits" if isinstance(value, int) and value.bit_length() > 128 else repr(value)
    return BadInput(
        "feature_not_finite" if infinite else "feature_too_large",
        field,
        shown,
        f"a number strictly within ±{FEATURE_LIMIT:g}",
    )


def _path(field: str, namespace: str | None, name: str) -> str:
    return f"{field}.{name}" if namespace is None else f"{field}.{namespace}.{name}"


def _refusal(raw: Buffer, error: Exception, field: str, features: str | None) -> BadInput:
    """Return the error that names the field, by a second, slower look at what the decoder refused."""
    if isinstance(error, UnicodeDecodeError):
        return BadInput("not_utf8", field, repr(error.object[error.start : error.start + 8]), "UTF-8")
    if isinstance(error, RecursionError):
        return BadInput("too_deep", field, "nested beyond reason", "features at most a list deep")
    if not isinstance(error, msgspec.ValidationError):
        return BadInput("not_json", field, syntax(error), "JSON")
    try:
        decoded: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as again:
        deep = isinstance(again, RecursionError) or "depth" in str(again)
        if deep:
            return BadInput("too_deep", field, "nested beyond reason", "features at most a list deep")
        if "out of range" in str(again):
            return BadInput("feature_not_finite", field, "a number beyond double precision", "a finite number")
        return BadInput("not_json", field, syntax(again), "JSON")
    if not isinstance(decoded, dict):
        return BadInput("not_an_object", field, _shown(decoded), "an object")
    if features is not None:
        if not isinstance(decoded.get("id"), str):
            return BadInput("id_invalid", f"{field}.id", _shown(decoded.get("id")), "a string")
        field, decoded = f"{field}.{features}", decoded.get(features)
        if not isinstance(decoded, dict):
            return BadInput("not_an_object", field, _shown(decoded), "an object")
    for namespace, inside in decoded.items():
        for name, value in inside.items() if isinstance(inside, dict) else ((None, inside),):
            where = _path(field, None if name is None else namespace, namespace if name is None else name)
            if isinstance(value, dict):
                return BadInput("too_deep", where, "an object", "a number, string, bool or list")
            if isinstance(value, list):
                for index, item in enumerate(value):
                    if not isinstance(item, str | int | float) or isinstance(item, bool):
                        return BadInput("list_invalid", f"{where}[{index}]", _shown(item), "a number or a string")
    problem = described(error, bytes(raw))
    return BadInput("invalid", f"{field}.{problem.field}".rstrip("."), problem.found, problem.expected)


def _shown(value: object) -> str:
    """Return a value as short text, without spelling out what a hostile one holds."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else repr(value)[:80]
