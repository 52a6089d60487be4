"""What a client makes of a reply."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bowerbird_client.errors import NotDecided

log = logging.getLogger(__name__)

MOST_WARNINGS = 100
"""A client logs at most so many different warnings."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to show.

    Attributes
    ----------
    event_id
        The name of the decision: what feedback must name.
    chosen
        The id of the action to show.
    ranking
        The ids of all actions, the first is the chosen one; of a ranked list those of its places.
    propensity
        The probability of the chosen action; None: it is a default.
    propensities
        Of a ranked list the probability of each place, given the places before it.
    policy_version
        The version that decided; None: it is a default.
    reason
        None: decided. Else why this is the caller's own default: ``timeout``, ``broker_away``, ``bad_reply``, or the
        code of an error reply (docs/contract.md).
    warnings
        Fields of the request that nothing reads, a sentence each.
    """

    event_id: str
    chosen: str
    ranking: tuple[str, ...]
    propensity: float | None = None
    policy_version: str | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    propensities: tuple[float, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether a policy decided."""
        return self.reason is None


class Warnings:
    """Logs what replies warn of, each once."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log(self, warnings: Sequence[str]) -> None:
        """Log those that are new."""
        for warning in warnings:
            if warning not in self._logged and len(self._logged) < MOST_WARNINGS:
                self._logged.add(warning)
                log.warning("%s", warning)


def answer_of(event_id: str, value: bytes) -> tuple[Answer, Any]:
    """Return the answer of a reply, and the rule of its decision.

    Raises
    ------
    NotDecided
        It is an error reply, or no reply of the contract.
    """
    try:
        reply = json.loads(value)
        if (error := reply.get("error")) is not None:
            raise NotDecided(event_id, str(error["code"]), str(error["message"]))
        answer = Answer(
            event_id,
            _text(reply["chosen"]),
            tuple(map(_text, _listed(reply["ranking"]))),
            _probability(reply["propensity"]),
            _text(reply["policy_version"]),
            warnings=tuple(map(_text, _listed(reply.get("warnings", [])))),
            propensities=tuple(_probability(pick["propensity"]) for pick in _listed(reply.get("picks", []))),
        )
        if answer.chosen != answer.ranking[0]:
            raise ValueError("another action is chosen than the first")
        return answer, reply.get("rule")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        problem = f"the reply is not one of docs/contract.md ({type(error).__name__})"
        raise NotDecided(event_id, "bad_reply", problem) from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(type(value).__name__)
    return value


def _probability(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(type(value).__name__)
    return float(value)
