"""Computes a policy's weights again from the log, and publishes them as its next version.

Two cases, one way. A sound policy is rebuilt up to what is saved of it, while its learner runs, which goes on from
the new version. A policy whose state may not be continued (Redis has forgotten, an outcome is missing) is rebuilt up to
the end of ``rewards``: no learner publishes it, and the new version settles what contradicted itself.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

from bowerbird.recovery.logs import KAFKA_ONLY, LogAccess
from policies.learn_position import Position
from policies.policy import digest
from policies.policy_store import Saved, identity_of, version_of
from records.errors import LossDetected, StateRefused, WrongConfiguration
from records.message import Message
from records.policy_version import PolicyVersion
from records.shape import UNSHAPED
from replay.proof.published import published_in
from replay.proof.rebuild import Rebuild, Rebuilt, SavedWeights
from stream.config import Config
from stream.controls import OperatorSession, operator_session
from stream.kafka.log import MESSAGES_A_REPORT
from stream.kafka.open_transactions import refuse_open_transactions

ATTEMPTS = 20
"""So often a learner that goes on publishing is caught up with."""


class Done(NamedTuple):
    """A rebuild.

    Attributes
    ----------
    version
        What was published.
    former
        The version before it, None: version 0.
    compared, differing
        How many published versions came by on the way, and the names of those that the log does not give.
    missing
        How many outcomes the log has lost.
    gone
        Which first outcomes are gone for good, in words; empty: none.
    """

    version: PolicyVersion
    former: PolicyVersion | None
    compared: int
    differing: list[str]
    missing: int
    gone: str = ""


async def rebuild(
    config: Config, name: str, now_ms: int, until_ms: int | None = None, access: LogAccess = KAFKA_ONLY
) -> Done:
    """Rebuild a policy and publish it.

    Parameters
    ----------
    name
        A policy of the configuration.
    now_ms
        Goes into the version, for people.
    until_ms
        Only outcomes that were appended up to this log time are learned. Default: all.

    Raises
    ------
    StateRefused
        Outcomes at the log's start are gone and the loss is not accepted, or others go on publishing the policy.
    WrongConfiguration
        The archive is another log's, or the policy was another one.
    """
    from bowerbird.verification import compare_log

    async with operator_session(config, name) as at:
        await compare_log(access.archive, at.reader)
        await refuse_open_transactions(config, at.reader, [(config.topic("versions"), 0), at.rewards])
        work = _Work(at, until_ms, access)
        try:
            return await work.run(now_ms)
        finally:
            work.rebuild.close()


async def refusal(at: OperatorSession) -> StateRefused | None:
    """Return why a learner would not go on from what is saved of a policy; None: it would."""
    try:
        await at.check_outcomes(await at.publisher.load(repair=False))
    except StateRefused as refused:
        return refused
    return None


class _Work:
    def __init__(self, at: OperatorSession, until_ms: int | None, access: LogAccess) -> None:
        identity = at.publisher.identity
        self.rebuild = Rebuild(at.name, identity)
        self._at, self._until_ms = at, until_ms
        self._archive, self._progress, self._accept_loss = access
        self._chain: dict[int, PolicyVersion] = {}
        self._compared: list[Rebuilt] = []
        self._next = 0
        self._log_start = 0
        self._back: tuple[int, SavedWeights] | None = None

    async def run(self, now_ms: int) -> Done:
        for _ in range(ATTEMPTS):
            saved, sound = await self._state()
            await self._read_versions(saved.position.number if sound and saved is not None else None)
            cut = saved.position.cut if sound and saved is not None else await self._end()
            await self._advance(cut)
            former = self._chain[max(self._chain)] if self._chain else None
            rebuilt_to, weights = self._back or (cut, self.rebuild.weights())
            newest = max(self._at.versions.seen(self._at.name).newest, saved.position.number if saved else 0)
            position = Position(
                number=newest + 1,
                digest=digest(weights.model),
                cut=cut,
                last_seqs=dict(self.rebuild.last_seqs),
                examples=weights.examples,
                shape=former.shape if former else UNSHAPED,
            )
            version = await self._at.publisher.publish(saved, (position, weights.model), now_ms, rebuilt_to=rebuilt_to)
            if version is not None:
                differing = [each.published.version for each in self._compared if each.digest != each.published.digest]
                missing = sum(jump.outcome_seq - jump.last - 1 for jump in self.rebuild.jumps)
                return Done(version, former, len(self._compared), differing, missing, self._gone())
            if not sound:
                break
        raise StateRefused(
            f"policy {self._at.name} in Redis",
            "another version each time",
            "the one that was read before",
            f"stop the other program that publishes it, and run `bowerbird policy rebuild {self._at.name}` again",
        )

    async def _state(self) -> tuple[Saved | None, bool]:
        """Return what is saved, and whether a learner could go on from it."""
        at = self._at
        await at.store.discard_spoilt_home(at.name)
        try:
            saved = await at.store.read(at.name)
        except StateRefused:
            # A learner refuses it, too, so nobody is writing to it.
            await at.store.forget(at.name)
            saved = None
        await at.publisher.compare_identity()
        try:
            saved = await at.publisher.load()
            await at.check_outcomes(saved)
        except (StateRefused, LossDetected):
            await at.versions.read(at.versions.position)
            await self._append_record(saved)
            return saved, False
        return saved, saved is not None

    async def _append_record(self, saved: Saved | None) -> None:
        """Write the record of a version that ``versions`` does not hold yet; else a number would be missing there."""
        at = self._at
        if saved is None or saved.record is None or saved.position.number <= at.versions.seen(at.name).newest:
            return
        with suppress(StateRefused):
            version_of(at.name, saved.record)
            await at.versions.append(at.name, saved.record)

    async def _read_versions(self, newest: int | None) -> None:
        """Follow the versions up to a number; None: all, as the first record of each number has it."""
        at = self._at
        where = (at.config.topic("versions"), 0)
        begins = (await at.reader.beginning([where]))[where]
        by_number: dict[int, PolicyVersion] = {}
        highest = {at.name: newest or 0}
        own: bool | None = None
        async for message in at.reader.read(*where, begins):
            for version in published_in(message, at.name, highest):
                is_own = identity_of(version) == at.publisher.identity
                own = is_own if own is None else own
                if own and not is_own:
                    # No learner of this policy wrote it: each compares what it is before it publishes.
                    continue
                if version.number not in self._chain and (newest is None or version.number <= newest):
                    by_number.setdefault(version.number, version)
        self._check(by_number)
        self._chain |= by_number
        self.rebuild.follow([version for _, version in sorted(by_number.items())])

    def _check(self, by_number: dict[int, PolicyVersion]) -> None:
        identity = self._at.publisher.identity
        for version in by_number.values():
            if identity_of(version) != identity:
                raise WrongConfiguration(
                    f"policy {self._at.name}: found {identity}, expected {identity_of(version)}, as version "
                    f"{version.version} was learned: set it back, or give the policy another name"
                )
            if self._chain and version.rebuilt_to is not None:
                raise StateRefused(
                    f"policy {self._at.name}", f"version {version.version}, which somebody else rebuilt meanwhile",
                    "no other rebuild", f"look at it (`bowerbird policy show {self._at.name}`), and rebuild again if it"
                    " is not what you want",
                )  # fmt: skip

    async def _end(self) -> int:
        return (await self._at.reader.ends([self._at.rewards]))[self._at.rewards]

    async def _advance(self, cut: int) -> None:
        """Go on to a cut; from the first message beyond the time on, outcomes are passed over."""
        count = 0
        async for message in self._messages(self._next, cut):
            if self._back is None and self._until_ms is not None and message.time_ms > self._until_ms:
                self._compared += self.rebuild.until(message.offset)
                self._back = (message.offset, self.rebuild.weights())
            if self._back is None:
                self._compared += self.rebuild.until(message.offset)
            self.rebuild.learn(message, pass_over=self._back is not None)
            self._refuse_a_late_start()
            count += 1
            if count % MESSAGES_A_REPORT == 0:
                self._progress("rewards", message.offset, cut)
        if self._back is None:
            self._compared += self.rebuild.until(cut)
        self._refuse_a_late_start()
        self._next = cut

    async def _messages(self, start: int, end: int) -> AsyncIterator[Message]:
        at, (topic, partition) = self._at, self._at.rewards
        begins = (await at.reader.beginning([at.rewards]))[at.rewards]
        if start == 0:
            self._log_start = begins
        if self._archive is not None and start < begins:
            held = self._archive.held("rewards", partition, begins)
            if start == 0 and held is not None:
                self._log_start = min(begins, held[0])
            for archived in self._archive.messages("rewards", partition, max(start, self._log_start), min(begins, end)):
                yield archived
        async for logged in at.reader.read(topic, partition, max(start, begins), end):
            yield logged

    def _gone(self) -> str:
        """Say which outcomes of the policy are gone for good; nothing: none."""
        gone = [seq for seq in self.rebuild.first_seqs.values() if seq > 1]
        if self._log_start and gone:
            return f"the log from offset {self._log_start}, where seq {max(gone)} comes first"
        if self._log_start and not self.rebuild.first_seqs and any(each.examples for each in self._chain.values()):
            return f"the log from offset {self._log_start}, without an outcome of the policy"
        return ""

    def _refuse_a_late_start(self) -> None:
        if not self._accept_loss and (gone := self._gone()):
            raise StateRefused(
                f"{self._at.rewards[0]}[{self._at.rewards[1]}]",
                gone,
                "the log from its start",
                f"name an archive that holds what retention has removed: `bowerbird policy rebuild {self._at.name}"
                f" --archive DIR`; where there is none, `bowerbird policy rebuild {self._at.name} --accept-loss` learns"
                " again from what is left",
            )
