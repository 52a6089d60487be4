"""Which events are worth nothing without a value, by the rules of the decisions that were answered here."""

from collections import OrderedDict

from msgspec import Raw

from records.errors import BadInput
from records.rule import rule_of

MOST_DECISIONS = 10_000
"""So many of the newest decisions are remembered: of those whose rule takes the worth of an event from its value."""


class Valued:
    """Refuses feedback without the value that the rule of its decision needs.

    A decision that was answered to another process, or long ago, is not known here; its feedback is not refused.
    """

    def __init__(self) -> None:
        self._streams: OrderedDict[str, frozenset[str]] = OrderedDict()

    def answered(self, event_id: str, rule: bytes) -> None:
        """Remember the rule of a decision; one that cannot be read (of a newer service) tells nothing."""
        try:
            streams = rule_of(Raw(rule)).reward.streams
        except BadInput:
            return
        if valued := frozenset(name for name, stream in streams.items() if stream.value):
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
