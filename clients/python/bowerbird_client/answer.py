"""What a client makes of a reply."""

import json
from dataclasses import dataclass
from typing import Any

from bowerbird_client.errors import NotDecided


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
        None: decided. Else why this is the caller's own default: ``timeout``, ``broker_away``, or the code of an
        error reply (docs/contract.md).
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
            reply["chosen"],
            tuple(reply["ranking"]),
            reply["propensity"],
            reply["policy_version"],
            warnings=tuple(reply.get("warnings", ())),
            propensities=tuple(pick["propensity"] for pick in reply.get("picks", ())),
        )
        return answer, reply.get("rule")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"the reply is not one of docs/contract.md ({type(error).__name__})"
        raise NotDecided(event_id, "bad_reply", problem) from None
