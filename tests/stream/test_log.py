"""Reading a log without servers."""

from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.config import Config
from stream.kafka import log
from stream.kafka.log import STARTS_AGAIN, LogReader


@pytest.mark.parametrize("failures", range(STARTS_AGAIN + 2))
async def test_a_broker_that_is_slow_to_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    asked: list[Any] = []

    async def started(client: Any) -> str:
        asked.append(client)
        if len(asked) <= failures:
            raise KafkaConnectionError
        return "a consumer"

    async def at_once(_: int) -> None:
        pass

    monkeypatch.setattr(log, "started", started)
    monkeypatch.setattr(log, "retry_pause", at_once)
    monkeypatch.setattr(log, "log_consumer", lambda _: "made")
    monkeypatch.setattr("stream.clients.admin", lambda *_: None)
    reader = LogReader(Config())
    if failures <= STARTS_AGAIN:
        assert str(await reader._started()) == "a consumer"
        assert len(asked) == failures + 1
    else:
        with pytest.raises(KafkaConnectionError):
            await reader._started()
        assert len(asked) == STARTS_AGAIN + 1
