"""Puts Redis right from the logs: the join's state first, then every policy whose state a learner refuses."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bowerbird.recovery.join import JoinRecovery, Progress
from bowerbird.recovery.join_recovered import JoinRecovered
from bowerbird.recovery.rebuild import Done, rebuild, refusal
from stream import clients
from stream.clients import redis_client
from stream.config import Config
from stream.controls import operator_session
from stream.kafka.log import LogReader, identify
from stream.redis.policy_store import RedisPolicyStore
from stream.redis.store import RedisStore
from stream.shutdown import closed, started

if TYPE_CHECKING:
    from archive.reader import Archive


@dataclass(slots=True)
class Recovered:
    """What a recovery did, or with ``dry_run`` would do.

    Attributes
    ----------
    join
        The join's state.
    refused
        Why the state of a policy could not be continued, by policy.
    rebuilt
        What was published instead.
    archive_needed
        Why the archive of the service could not be continued, a sentence each.
    archive_moved_to
        Where the archive's old files are now.
    """

    join: JoinRecovered
    refused: dict[str, str] = field(default_factory=dict)
    rebuilt: dict[str, Done] = field(default_factory=dict)
    archive_needed: list[str] = field(default_factory=list)
    archive_moved_to: str = ""


async def recover(
    config: Config,
    now_ms: int,
    archive: "Archive | None" = None,
    *,
    dry_run: bool = False,
    force: bool = False,
    accept_loss: bool = False,
    discard_other_log: bool = False,
    progress: Progress = lambda what, passed, of: None,
) -> Recovered:
    """Compute again what Redis has forgotten.

    The roles may run meanwhile; they wait for it. A second run changes nothing; a run that was killed can be repeated.

    Parameters
    ----------
    now_ms
        Goes into published versions, for people.
    archive
        Gives the decisions and outcomes that Kafka has forgotten.
    dry_run
        Change nothing.
    force
        Rebuild the join's state also where it is sound.
    accept_loss
        Go on where feedback or outcomes that are needed are gone for good.
    discard_other_log
        Throw away what Redis holds of another log.

    Raises
    ------
    StateRefused
        Redis holds the state of another log; or what is needed is gone, and the loss is not accepted.
    WrongConfiguration
        The shards are not those that the service was begun with; or the archive is another log's.
    """
    from bowerbird.verification import compare_log

    redis, producer = redis_client(config), clients.producer(config, "bowerbird-recover")
    try:
        await started(producer)
        try:
            async with LogReader(config) as reader:
                await compare_log(archive, reader)
                store = RedisStore(redis, config.prefix)
                done = Recovered(JoinRecovered())
                if discard_other_log and not dry_run:
                    await _discard(config, store, await identify(reader, config, producer), done)
                join = JoinRecovery(config, reader, store, producer, archive, progress, accept_loss)
                done.join = await join.run(force=force, dry_run=dry_run)
                try:
                    await _policies(config, done, now_ms, archive, dry_run, progress)
                finally:
                    # The join compares its seqs with what the policies have learned.
                    await join.release()
                if config.archive.url is not None:
                    from bowerbird.recovery.archive import recover_archive

                    archived = await recover_archive(config, reader, join.log, now_ms, dry_run=dry_run)
                    done.archive_needed, done.archive_moved_to = archived.needed, archived.moved_to
        finally:
            await closed(producer)
    finally:
        await redis.aclose()
    return done


async def _discard(config: Config, store: RedisStore, log: str, done: Recovered) -> None:
    """Throw away what was made from another log than this; all of it is computed again."""
    await store.discard_others(config.shards, log)
    policies = RedisPolicyStore(store.redis, config)
    for name in config.policies:
        if await policies.discard_other(name, log):
            done.refused[name] = "it was learned from another log"


async def _policies(
    config: Config, done: Recovered, now_ms: int, archive: "Archive | None", dry_run: bool, progress: Progress
) -> None:
    for name in config.policies:
        async with operator_session(config, name) as at:
            refused = await refusal(at)
        if refused is not None or name in done.refused:
            done.refused.setdefault(name, str(refused))
            if not dry_run:
                done.rebuilt[name] = await rebuild(config, name, now_ms, archive=archive, progress=progress)
