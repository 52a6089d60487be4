"""The broker's clock, over a broker and a monotonic clock that the test drives."""

import asyncio
from types import SimpleNamespace

import pytest

from stream.kafka.broker_clock import TICK, BrokerClock


class Broker:
    def __init__(self):
        self.log_ms = 0
        self.now_s = 0.0
        self.appended = []
        self.takes_s = 0.0

    async def send_and_wait(self, topic, value):
        self.appended.append((topic, value))
        answer = SimpleNamespace(offset=len(self.appended) - 1, timestamp=self.log_ms)
        self.now_s += self.takes_s
        return answer


def test_now_is_the_last_tick_and_the_time_since():
    broker = Broker()
    clock = BrokerClock(broker, "ticks", monotonic=lambda: broker.now_s)
    assert not clock.started
    with pytest.raises(RuntimeError, match="first"):
        clock.now_ms()
    broker.log_ms = 5_000
    assert asyncio.run(clock.tick()) == 5_000
    assert broker.appended == [("ticks", TICK)]
    broker.now_s += 1.25
    assert clock.now_ms() == 6_250
    broker.log_ms = 6_000
    asyncio.run(clock.tick())
    assert clock.now_ms() == 6_000


def test_a_slow_acknowledgement_does_not_put_the_clock_ahead():
    broker = Broker()
    broker.takes_s = 3.0
    clock = BrokerClock(broker, "ticks", monotonic=lambda: broker.now_s)
    broker.log_ms = 5_000
    asyncio.run(clock.tick())
    assert clock.now_ms() == 5_000
