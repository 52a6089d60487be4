"""The client is a distribution of its own: what it knows of the contract is held against the service here."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bowerbird_client
from bowerbird_client import contract, errors, streams
from bowerbird_client.values import event_id_of, feedback_id_of, json_of, number_of, shown_action_of
from records import limits
from records.errors import BadInput, shorten
from records.event_id import check_event_id
from records.feedback import feedback
from stream import clients
from stream.config import OWN_TOPICS
from stream.kafka import headers

TEXTS = st.text(max_size=8) | st.text(st.sampled_from('aé"\\\n\0\x7f'), min_size=100, max_size=600)


def test_names_and_bounds_are_those_of_the_service() -> None:
    assert {*OWN_TOPICS, "__consumer_offsets"} == contract.OWN_TOPICS
    assert headers.REPLY_TOPIC_HEADERS[0] == contract.REPLY_TOPIC_HEADER
    assert headers.CORRELATION_HEADERS[0] == contract.CORRELATION_HEADER
    assert headers.EXPIRES_HEADER == contract.EXPIRES_HEADER
    assert clients.LARGE_MESSAGE_BYTES == contract.LARGEST_MESSAGE_BYTES
    for name in ("LONGEST_EXPIRES_MS", "EVENT_ID_BYTES", "ACTION_BYTES", "REWARD_LIMIT"):
        assert getattr(contract, name) == getattr(limits, name)
    assert streams.LONGEST_NAME == limits.TOPIC_NAME_CHARACTERS


def refused(call: Callable[[], Any]) -> tuple[str, str] | None:
    """Return the code and the field of what a call raises; None: nothing."""
    try:
        call()
    except (BadInput, bowerbird_client.BadInput) as error:
        return error.code, error.field
    return None


@given(TEXTS)
def test_the_client_takes_the_event_ids_that_the_service_takes(text: str) -> None:
    assert refused(lambda: event_id_of(text)) == refused(lambda: check_event_id(text))


@pytest.mark.parametrize(
    ("field", "check", "values"),
    [
        ("id", feedback_id_of, TEXTS.filter(bool)),
        ("action", shown_action_of, TEXTS),
        ("value", lambda value: number_of(value, "value"), st.floats(-2e6, 2e6) | st.integers(-2_000_000, 2_000_000)),
    ],
)
def test_the_client_takes_the_feedback_that_the_service_takes(
    field: str, check: Callable[[Any], Any], values: "st.SearchStrategy[Any]"
) -> None:
    @given(values)
    def law(value: Any) -> None:
        message = json_of({"v": 1, "event_id": "visit", field: value})
        assert refused(lambda: check(value)) == refused(lambda: feedback(message))

    law()


@given(st.text(max_size=100))
def test_an_error_shows_what_the_service_would_show(text: str) -> None:
    assert errors._shortened(text) == shorten(text)
