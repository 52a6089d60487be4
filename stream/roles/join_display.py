"""What the join shows of itself at each tick: metrics, and why no window closes."""

import logging
from collections.abc import Mapping

from records.errors import RECOVER
from rewards.join_items import Input
from rewards.watermark import INPUTS
from stream import metrics, stopped
from stream.config import Config
from stream.kafka.faust_app import Progress
from stream.kafka.log import LogReader
from stream.redis.store import RedisStore
from stream.role import JOIN
from stream.roles.join_settings import input_topics

log = logging.getLogger(__name__)

GIVEN_UP_MS = 5_000
"""So long a former input may lie behind while workers with other settings are replaced."""


class JoinDisplay:
    """Shows how far the join is."""

    def __init__(self, config: Config, reader: LogReader, store: RedisStore) -> None:
        self._config, self._reader, self._store = config, reader, store
        self._topics = input_topics(config)

    def say_missing(self, topics: set[str]) -> None:
        """Say which inputs are not there."""
        self._say_held(
            "inputs",
            f"no topic {', '.join(sorted(topics))}, so no window closes: run `bowerbird topics create`, or take it"
            " out of the settings for good"
            if topics
            else "",
        )

    async def show_transactions(self, ends: Mapping[Input, int], fetched: Mapping[Input, Progress]) -> None:
        """Show which inputs are held back by a transaction that is neither committed nor aborted."""
        behind = [name for name in ends if name in fetched and fetched[name].position < ends[name]]
        held = await self._reader.open_transactions(behind) if behind else {}
        for name in ends:
            labels = self._config.stream_of(name[0]), str(name[1])
            metrics.OPEN_TRANSACTION.labels(*labels).set(held.get(name, (0, 0))[1])

    async def show(self) -> None:
        """Show how many decisions wait, and to when each input was read."""
        waiting: dict[str, int] = dict.fromkeys(self._config.placements, 0)
        given_up: set[str] = set()
        for shard in range(self._config.shards):
            for placement, count in (await self._store.pending(shard)).items():
                waiting[placement] = waiting.get(placement, 0) + count
            watermarks = await self._store.watermarks(shard)
            for name, watermark_ms in watermarks.items():
                topic, _, partition = name.partition(" ")
                if (
                    name != INPUTS
                    and topic not in self._topics
                    and watermarks.get(INPUTS, 0) - watermark_ms > GIVEN_UP_MS
                ):
                    given_up.add(topic)
                stream = self._config.stream_of(topic)
                metrics.INPUT_WATERMARK.labels(stream, partition).set(watermark_ms / 1000)
        self._say_given_up(given_up)
        for placement, count in waiting.items():
            known = placement if placement in self._config.placements else metrics.OTHER
            metrics.PENDING.labels(JOIN, known).set(count)

    def _say_given_up(self, topics: set[str]) -> None:
        """Say which former inputs hold every window: no setting names them any more."""
        self._say_held(
            "former inputs",
            f"{', '.join(sorted(topics))} was an input and is not one by these settings, so no window closes: to give"
            f" it up for good, {RECOVER}; else set it back"
            if topics
            else "",
        )

    @staticmethod
    def _say_held(part: str, sentence: str) -> None:
        """Show at each tick why no window closes, and log it when it changes; an empty sentence: nothing holds them."""
        if not sentence:
            stopped.go_on(JOIN, part)
            return
        if stopped.stop(JOIN, part, sentence):
            log.error("%s", sentence)
