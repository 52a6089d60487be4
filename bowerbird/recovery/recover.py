"""Puts Redis right from the logs: the join's state first, then every policy whose state a learner refuses."""

from dataclasses import dataclass, field

from bowerbird.recovery.join import JoinRecovery
from bowerbird.recovery.join_recovered import JoinRecovered
from bowerbird.recovery.logs import KAFKA_ONLY, LogAccess, RecoveryLogs
from bowerbird.recovery.options import CAREFUL, RecoverOptions
from bowerbird.recovery.rebuild import Done, rebuild, refusal
from records.errors import StateRefused
from stream import clients
from stream.clients import redis_client
from stream.config import Config
from stream.controls import operator_session
from stream.kafka.log import LogReader, identify
from stream.redis.policy_store import RedisPolicyStore
from stream.redis.store import RedisStore
from stream.shutdown import closed, started


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
    not_rebuilt
        Why a policy could not be computed again.
    archive_needed
        Why the archive of the service could not be continued, a sentence each.
    archive_moved_to
        Where the archive's old files are now.
    """

    join: JoinRecovered
    refused: dict[str, str] = field(default_factory=dict)
    rebuilt: dict[str, Done] = field(default_factory=dict)
    not_rebuilt: list[StateRefused] = field(default_factory=list)
    archive_needed: list[str] = field(default_factory=list)
    archive_moved_to: str = ""


async def recover(
    config: Config, now_ms: int, options: RecoverOptions = CAREFUL, access: LogAccess = KAFKA_ONLY
) -> Recovered:
    """Compute again what Redis has forgotten.

    The roles may run meanwhile; they wait for it. A second run changes nothing; a run that was killed can be repeated.

    Parameters
    ----------
    now_ms
        Goes into published versions, for people.

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
                await compare_log(access.archive, reader)
                store = RedisStore(redis, config.prefix)
                done = Recovered(JoinRecovered())
                if options.discard_other_log and not options.dry_run:
                    await _discard(config, store, await identify(reader, config, producer), done)
                access = access._replace(accept_loss=options.accept_loss)
                join = JoinRecovery(config, RecoveryLogs(config, reader, access), store, producer)
                done.join = await join.run(options)
                try:
                    for name in config.policies:
                        if await _is_refused(config, name, done) and not options.dry_run:
                            await _rebuild(config, name, now_ms, access, done)
                finally:
                    # The join compares its seqs with what the policies have learned.
                    await join.release()
                if config.archive.url is not None:
                    from bowerbird.recovery.archive import recover_archive

                    archived = await recover_archive(config, reader, join.log, now_ms, dry_run=options.dry_run)
                    done.archive_needed, done.archive_moved_to = archived.needed, archived.moved_to
                # Everything else is put right first: one policy holds up nothing.
                for refused in done.not_rebuilt:
                    raise refused
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


async def _rebuild(config: Config, name: str, now_ms: int, access: LogAccess, done: Recovered) -> None:
    try:
        done.rebuilt[name] = await rebuild(config, name, now_ms, access=access)
    except StateRefused as refused:
        done.not_rebuilt.append(refused)


async def _is_refused(config: Config, name: str, done: Recovered) -> bool:
    """Tell whether the state of a policy cannot be continued, and note why."""
    async with operator_session(config, name) as at:
        if (refused := await refusal(at)) is not None:
            done.refused.setdefault(name, str(refused))
    return name in done.refused
