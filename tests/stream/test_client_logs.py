"""What Kafka's client repeats is logged once a minute."""

import logging

import pytest


def test_what_is_repeated_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("stream.clients.time.monotonic", lambda: 1e9 + now[0])
    log = logging.getLogger("aiokafka.cluster")
    with caplog.at_level(logging.WARNING, logger="aiokafka.cluster"):
        for second in (0.0, 0.0, 59.0, 61.0):
            now[0] = second
            log.warning("Topic %s not found in cluster metadata", "none-such")
        log.warning("Topic %s not found in cluster metadata", "another")
    assert [record.getMessage().split()[1] for record in caplog.records] == ["none-such", "none-such", "another"]
