"""The partitions of ``rewards`` that stand still, each with a sentence on why, while the others go on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faust.types import TP

from policies.learn_worker import LearnWorker
from records.errors import StateRefused, WrongConfiguration
from stream import metrics, stopped
from stream.role import LEARN

log = logging.getLogger(__name__)


class StoppedPartitions:
    """Stops a partition on which anything fails: its input is held, and none of it is acknowledged any more.

    Parameters
    ----------
    topic
        The full name of ``rewards``.
    app
        Reads it.
    worker
        Holds what it has taken of the partition.
    """

    def __init__(self, topic: str, app: Any, worker: LearnWorker[Any]) -> None:
        self._topic, self._app, self._worker = topic, app, worker
        self._refused: dict[int, bool] = {}

    @property
    def numbers(self) -> set[int]:
        """All that stand still."""
        return set(self._refused)

    @property
    def refused(self) -> list[int]:
        """Those that were stopped by a refused state or configuration: an operator can put them right."""
        return [number for number, refused in self._refused.items() if refused]

    def __contains__(self, number: int) -> bool:
        return number in self._refused

    @contextmanager
    def stopping(self, number: int, offset: int | None = None) -> Iterator[None]:
        """Stop a partition on whatever is raised within; ``offset``: of the message that is taken."""
        try:
            yield
        except (StateRefused, WrongConfiguration) as refused:
            self._stop(number, str(refused), refused=True)
        except Exception as error:
            metrics.UNEXPECTED_ERRORS.labels(LEARN).inc()
            log.exception("rewards[%d], offset %s", number, offset)
            self._stop(
                number,
                f"rewards[{number}] stands still after an unexpected {type(error).__name__}, which the log shows: start"
                " the role again (`bowerbird worker --roles learn`)",
                refused=False,
            )

    def _stop(self, number: int, sentence: str, *, refused: bool) -> None:
        if number not in self._refused:
            self._refused[number] = refused
            self._worker.hold(number)
            self.say(number, sentence)
            self._app.consumer.pause_partitions([TP(self._topic, number)])

    def say(self, number: int, sentence: str) -> None:
        """Say why a partition stands still, now."""
        if stopped.stop(LEARN, f"rewards[{number}]", sentence):
            log.critical("%s", sentence, extra={"stopped": f"{self._topic}[{number}]"})

    def forget(self) -> None:
        """Let all go on, as at a new assignment."""
        for number in self._refused:
            stopped.go_on(LEARN, f"rewards[{number}]")
        self._refused.clear()
