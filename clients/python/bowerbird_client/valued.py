"""Which events are worth nothing without a value, by the rules of the decisions that were answered here."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from bowerbird_client.errors import BadInput

MOST_DECISIONS = 10_000
"""So many of the newest decisions are remembered: of those whose rule takes the worth of an event from its value."""


class Valued:
    """Refuses feedback without the value that the rule of its decision needs.

    A decision that was answered to another process, or long ago, is not known here; its feedback is not refused.
    """

    def __init__(self) -> None:
        self._streams: OrderedDict[str, frozenset[str]] = OrderedDict()

    def answered(self, event_id: str, rule: Any) -> None:
        """Remember the rule of a decision; one that cannot be read (of a newer service) says nothing."""
        if valued := frozenset(_valued(rule)):
            self._streams[event_id] = valued
            if len(self._streams) > MOST_DECISIONS:
                self._streams.popitem(last=False)

    def check(self, event_id: str, stream: str) -> None:
        """Refuse feedback without a value.

        Raises
        ------
        BadInput
            By the rule of its decision an event of the stream is worth its value.
        """
        if stream in self._streams.get(event_id, ()):
            expected = f"a number: by the placement's rule an event of {stream} is worth its value"
            raise BadInput("invalid_field", "value", "none", expected)


def _valued(rule: Any) -> list[str]:
    """Return the streams of a rule whose events are worth their value.

    >>> _valued({"reward": {"streams": {"clicks": {"weight": 1}, "purchases": {"value": True}}}})
    ['purchases']
    """
    for name in ("reward", "streams"):
        rule = rule.get(name) if isinstance(rule, Mapping) else None
    streams = rule.items() if isinstance(rule, Mapping) else ()
    return [name for name, stream in streams if isinstance(stream, Mapping) and stream.get("value") is True]
