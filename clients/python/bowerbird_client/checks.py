"""What a client is made with."""

import re
from collections.abc import Mapping
from numbers import Integral

from bowerbird_client.calls import ClientOptions
from bowerbird_client.contract import OWN_TOPICS
from bowerbird_client.errors import BadInput
from bowerbird_client.values import number_of, seconds_of, shown

OWN_PROPERTIES = frozenset(
    {
        *("bootstrap.servers", "group.id", "acks", "request.required.acks", "enable.idempotence", "transactional.id"),
        *("message.timeout.ms", "delivery.timeout.ms", "delivery.report.only.error", "enable.auto.commit"),
        *("enable.auto.offset.store", "auto.offset.reset", "error_cb", "logger", "on_delivery", "on_commit"),
    }
)
"""Properties of librdkafka that the client sets itself."""
_TOPIC = re.compile(r"[A-Za-z0-9._-]*").fullmatch
_LONGEST_PART = 200
"""Of a topic's name: prefix or reply topic."""


def _parts(options: ClientOptions) -> list[tuple[str, object]]:
    return [("reply_topic", options.reply_topic), ("prefix", options.prefix)]


def check_options(options: ClientOptions) -> None:
    """Refuse what no client can be made with.

    Raises
    ------
    BadInput
        It names the parameter.
    """
    brokers: object = options.brokers
    topic: object = options.reply_topic
    if not isinstance(brokers, str) or not brokers.strip() or "://" in brokers:
        raise BadInput("invalid_field", "brokers", shown(brokers), "host:port, several of them with commas")
    for name, part in _parts(options):
        if not isinstance(part, str) or not _TOPIC(part) or len(part) > _LONGEST_PART:
            expected = "a part of a topic's name: letters, digits, . _ and -"
            raise BadInput("invalid_field", name, shown(part), expected)
    if topic in ("", ".", "..") or topic in OWN_TOPICS:
        raise BadInput("invalid_field", "reply_topic", shown(topic), "the name of a topic for replies alone")
    if number_of(options.batch_ms, "batch_ms") < 0:
        raise BadInput("invalid_field", "batch_ms", shown(options.batch_ms), "milliseconds, at least 0")
    most: object = options.most_waiting
    if isinstance(most, bool) or not isinstance(most, Integral) or most < 1:
        raise BadInput("invalid_field", "most_waiting", shown(most), "a whole number of at least 1")
    seconds_of(options.flush_within_s, "flush_within_s")
    properties: object = options.properties
    if properties is None:
        return
    if not isinstance(properties, Mapping) or not all(isinstance(name, str) for name in properties):
        raise BadInput("invalid_field", "properties", type(properties).__name__, "names of librdkafka, with values")
    if own := sorted(OWN_PROPERTIES & set(properties)):
        raise BadInput("invalid_field", "properties", own[0], "those that the client does not set itself")
