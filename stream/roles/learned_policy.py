"""One policy as the learner follows it: it is loaded, takes outcomes, and is published when that is due."""

import logging
import time
from functools import partial
from typing import Any

from policies.learn_worker import LearnWorker, Save, Take
from policies.learner import Learner, LearnResult
from policies.publish_schedule import PublishSchedule
from policies.training import outcomes_of
from records.errors import LossDetected
from stream import metrics
from stream.kafka.dead_letters import DeadLetters
from stream.liveness import Pulse
from stream.retry import until_there
from stream.role import LEARN
from stream.roles.policy_states import PolicyStates
from stream.roles.refused_outcomes import letters_of, refused_records

log = logging.getLogger(__name__)


class LearnedPolicy:
    """A policy that a worker learns; servers that are away are waited for.

    Parameters
    ----------
    name
        The policy.
    worker
        Gets its learner.
    states
        Hold what is saved of it.
    dead_letters
        Where outcomes go that it cannot learn.
    pulse
        Notes each step while much is read again.
    """

    def __init__(
        self, name: str, worker: LearnWorker[Any], states: PolicyStates, dead_letters: DeadLetters, pulse: Pulse
    ) -> None:
        self.name = name
        self._worker, self._states, self._dead_letters, self._pulse = worker, states, dead_letters, pulse
        self._publisher = states.publisher(name)
        self.learner: Learner

    async def load(self, schedule: PublishSchedule) -> None:
        """Go on from what is saved; outcomes that were acknowledged without being learned are taken first."""
        name = self.name
        learner = await until_there(LEARN, f"loading {name}", partial(self._states.load, self._publisher))
        self.learner = learner
        self._worker.load(learner, schedule, monotonic_ms())
        log.info("loaded", extra={"policy": name, "version": learner.saved.version, "cut": learner.cut})
        metrics.policy_in_use(LEARN, name, learner.saved.number, self._publisher.published_ms)
        metrics.CONTRADICTING.labels(name).inc(0)
        if end := await until_there(LEARN, f"loading {name}", partial(self._states.acknowledged_unlearned, learner)):
            await until_there(LEARN, f"reading what {name} lacks", partial(self._take_unread, end))

    async def compare_saved(self) -> None:
        """Refuse a Redis that has forgotten a version, also while nothing comes to be learned."""
        await self._publisher.compare_saved(self.learner)

    async def take(self, work: Take[Any]) -> None:
        """Take the policy's outcomes of a message.

        Raises
        ------
        LossDetected
            Outcomes before them are missing.
        """
        try:
            with metrics.LEARN_SECONDS.time():
                result = self._worker.take(work)
        except LossDetected:
            result = await self._take_after_gap(work)
        await self._note(work.message.message, result)

    async def _take_after_gap(self, work: Take[Any]) -> LearnResult:
        """Take what is missing first: perhaps somebody else has learned it, or it was never handed on."""
        name = self.name
        await until_there(LEARN, f"loading {name}", partial(self._publisher.recover, self.learner))
        try:
            await until_there(LEARN, f"reading what {name} lacks", partial(self._take_unread, work.offset))
            return self._worker.take(work)
        except LossDetected:
            metrics.GAPS.labels(name).inc()
            raise

    async def _take_unread(self, end: int) -> None:
        """Take what the log holds before an offset: somebody may have moved what the group has acknowledged."""
        placements = self._publisher.identity.placements
        async for record in self._states.messages(self.name, self.learner.cut, end):
            await self._note(record, self.learner.take(record.offset, outcomes_of(placements, record.value)))
            if (save := self._worker.save_due(self.name, monotonic_ms())) is not None:
                await self.save(save)
            self._pulse.stepped()

    async def _note(self, message: Any, result: LearnResult) -> None:
        name = self.name
        metrics.LEARNED.labels(name).inc(result.learned)
        metrics.NOT_LEARNED.labels(name).inc(result.not_learned + len(result.refused))
        metrics.REPEATS.labels(LEARN, "outcome").inc(result.repeats)
        if refused := [*result.refused, *result.contradicting]:
            metrics.CONTRADICTING.labels(name).inc(len(result.contradicting))
            await self._dead_letters.send(*letters_of(message, refused_records(message.value, refused)))

    async def save(self, work: Save) -> None:
        """Publish what was learned, or save the position."""
        name, learner = self.name, self.learner
        began_ms = monotonic_ms()
        wall_ms = time.time_ns() // 1_000_000

        async def save() -> str:
            # Only the attempt that succeeds is publishing time: an outage must not delay the next publish.
            nonlocal began_ms
            began_ms = monotonic_ms()
            return await self._publisher.save(learner, wall_ms, move=work.move)

        result = await until_there(LEARN, f"publishing {name}", save)
        ended_ms = monotonic_ms()
        self._worker.saved(name, began_ms, ended_ms, anything=result in ("published", "moved"))
        if result == "published":
            metrics.PUBLISHED.labels(name).inc()
            metrics.PUBLISH_SECONDS.observe((ended_ms - began_ms) / 1000)
            metrics.MODEL_BYTES.labels(name).set(learner.model_bytes)
            metrics.policy_in_use(LEARN, name, learner.saved.number, wall_ms)
        elif result == "lost":
            metrics.LOST_RACES.labels(name).inc()
            log.warning(
                "another learner, or an operator, has published; going on from its version",
                extra={"policy": name, "version": learner.saved.version},
            )


def monotonic_ms() -> float:
    """Return a time that only grows."""
    return time.monotonic() * 1000
