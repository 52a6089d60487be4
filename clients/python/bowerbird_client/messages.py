"""What a call sends, as JSON."""

from collections.abc import Mapping
from typing import Any

from bowerbird_client.calls import DecideCall, RewardCall
from bowerbird_client.values import actions_of, flag_of, json_of, number_of, places_of, shown_action_of, text_of


def request_of(call: DecideCall, event_id: str) -> tuple[bytes, list[Mapping[str, Any]]]:
    """Return a request, and the actions that it offers.

    Raises
    ------
    BadInput
        A value cannot be sent.
    """
    request: dict[str, Any] = {
        "v": 1,
        "event_id": event_id,
        "placement": call.placement,
        "context": {} if call.context is None else call.context,
        "actions": (offered := actions_of(call.actions)),
        "activate": flag_of(call.activate, "activate"),
    }
    if call.top is not None:
        request["top"] = places_of(call.top)
    if call.user_id is not None:
        request["user_id"] = text_of(call.user_id, "user_id")
    return json_of(request), offered


def feedback_of(call: RewardCall, event_id: str, feedback_id: str) -> dict[str, Any]:
    """Return a feedback.

    Raises
    ------
    BadInput
        A value cannot be sent.
    """
    return {
        "v": 1,
        "id": feedback_id,
        "event_id": event_id,
        "action": None if call.action is None else shown_action_of(call.action),
        "value": None if call.value is None else number_of(call.value, "value"),
        "activate": None if call.activate is None else flag_of(call.activate, "activate"),
    }
