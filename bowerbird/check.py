"""Whether a service can run as configured: a finding for each thing looked at, and what to do about what fails."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bowerbird.recovery.join_problems import known_topics, problems
from bowerbird.recovery.rebuild import refusal
from bowerbird.status.observer import Observer
from policies import checks
from policies.policy_store import CHECK
from records.errors import StateRefused, WrongConfiguration, of_disk, shorten
from records.extras import sentence
from rewards.store import other_log
from stream import clients, preflight
from stream.config import CHECK_TOPIC, Config
from stream.controls import operator_session
from stream.kafka import codecs, topics
from stream.kafka.log import LogReader
from stream.redis.store import RedisStore
from stream.roles.join_settings import input_topics

LEARNING_OVER_MINUTES = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject
        What was looked at, such as ``broker`` or ``policy front``.
    holds
        Whether it is as it must be.
    found
        What it is.
    remedy
        What to do where it does not hold; else empty.
    """

    subject: str
    holds: bool
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        return asdict(self)


async def findings(config: Config) -> AsyncIterator[Finding]:
    """Look at everything, the fastest first; a server that is away hides what it would tell, nothing else."""
    yield Finding("configuration", True, f"{len(config.policies)} policies, {len(config.streams)} streams")
    yield _retention(config)
    async for finding in _kafka(config):
        yield finding
    async for finding in _redis(config):
        yield finding
    async for finding in _state(config):
        yield finding
    async for finding in _published(config):
        yield finding
    for finding in _policies(config):
        yield finding
    async for finding in _learning(config):
        yield finding
    if config.archive.url is not None:
        yield await asyncio.to_thread(_archive, config.archive.url, config.prefix)


def _retention(config: Config) -> Finding:
    # That it suffices has been checked with the settings; what the topics really keep is seen with the topics.
    sentence = (
        f"{config.retention_s:g} s outlast the longest window, {config.longest_window_s:g} s,"
        f" and an outage of {config.survive_outage_s:g} s"
    )
    return Finding("retention", True, sentence)


async def _kafka(config: Config) -> AsyncIterator[Finding]:
    try:
        broker = await preflight.broker_facts(config)
        yield Finding("broker", True, f"cluster {broker.cluster_id}, {broker.brokers} brokers")
        yield _session(config.session_timeout_s, broker.sessions_s)
        problems = await topics.problems(config)
    except Exception as error:
        if (explained := preflight.explain(error, config)) is None:
            raise
        yield _failed("broker", explained)
        return
    by_topic = {need.name: [each for each in problems if each.topic == need.name] for need in topics.needed(config)}
    for name, wrong in by_topic.items():
        if not wrong:
            yield Finding(f"topic {name}", True, "as needed")
        for each in wrong:
            yield Finding(f"topic {name}", False, f"{each.setting}: {each.found}, needed: {each.needed}", each.remedy)
    async for finding in _codecs(config):
        yield finding


def _session(session_s: float, bounds_s: tuple[float, float] | None) -> Finding:
    subject = "session_timeout_s"
    if bounds_s is None:
        return Finding(subject, True, f"{session_s:g} s; the brokers do not tell what they take")
    found = f"{session_s:g} s; the brokers take {bounds_s[0]:g} to {bounds_s[1]:g} s"
    if bounds_s[0] <= session_s <= bounds_s[1]:
        return Finding(subject, True, found)
    return Finding(subject, False, found, f"set {subject} within that, or the brokers' group.min.session.timeout.ms")


async def _codecs(config: Config) -> AsyncIterator[Finding]:
    failed = await codecs.failures(config)
    if failed is None:
        # That topics may not be made from here says nothing about the service.
        yield Finding("codecs", True, f"not looked at, since topic {config.topic(CHECK_TOPIC)} cannot be made")
        return
    for codec, problem in failed.items():
        yield Finding(f"codec {codec}", False, shorten(problem), "install bowerbird with its dependencies (cramjam)")
    if not failed:
        sentence = f"{', '.join(codecs.CODECS)}: a record of each was written to {config.topic(CHECK_TOPIC)} and read"
        yield Finding("codecs", True, sentence)


async def _redis(config: Config) -> AsyncIterator[Finding]:
    redis = clients.redis_client(config)
    try:
        facts = await preflight.redis_facts(redis)
        await preflight.write(redis, config)
        kept = await preflight.remembered(redis, config)
    except Exception as error:
        if (explained := preflight.explain(error, config)) is None:
            raise
        yield _failed("redis", explained)
        return
    finally:
        await redis.aclose()
    yield Finding("redis", True, f"version {facts.version}, takes writes")
    yield _setting("appendonly", facts.append_only, "yes", "an acknowledged write may be lost by a crash")
    yield _setting("appendfsync", facts.append_fsync, "always", "an acknowledged write may be lost by a crash")
    yield _setting("maxmemory-policy", facts.eviction, "noeviction", "Redis may drop pending decisions")
    for each in kept:
        holds = each.kept in (None, each.configured)
        sentence = f"{each.configured}, " + ("as at the first start" if each.kept else "nothing kept yet")
        yield (
            Finding(each.setting, True, sentence)
            if holds
            else Finding(
                each.setting,
                False,
                f"{each.configured}, but {each.kept} at the first start",
                f"it never changes: set it back to {each.kept}, or use another prefix",
            )
        )


async def _state(config: Config) -> AsyncIterator[Finding]:
    redis = clients.redis_client(config)
    try:
        async with LogReader(config) as reader:
            there = await reader.topics(known_topics(config))
            if not there.keys() >= set(input_topics(config)):
                return
            store = RedisStore(redis, config.prefix)
            sentences = await problems(config, reader, store, there)
            log = await reader.log_name()
            other = await _other_log(config, log, store)
            archived = await _archived(config, log, reader)
    except Exception as error:
        if preflight.explain(error, config) is None:
            raise
        return  # The findings on the servers say so.
    finally:
        await redis.aclose()
    for problem in sentences:
        yield Finding("join state", False, problem, "run `bowerbird recover`")
    if other is not None:
        yield Finding("join state", False, f"{other.what}: {other.found}, expected {other.expected}", other.remedy)
    elif not sentences:
        yield Finding("join state", True, "goes as far as the logs say")
    for problem in archived:
        yield Finding("archive", False, problem, "run `bowerbird recover`")


async def _other_log(config: Config, log: str | None, store: RedisStore) -> StateRefused | None:
    """Return the refusal of a join state that was made from another log; None: it was not."""
    if log is None:
        return None
    for shard in range(config.shards):
        known = await store.log_name(shard)
        if known not in (None, log):
            return other_log(shard, str(known), log)
    return None


async def _archived(config: Config, log: str | None, reader: LogReader) -> list[str]:
    """Say why the archive is no copy of this log; that it cannot be read is another finding."""
    if config.archive.url is None or log is None:
        return []
    try:
        from bowerbird.recovery.archive import recover_archive

        return (await recover_archive(config, reader, log, 0, dry_run=True)).needed
    except (ModuleNotFoundError, WrongConfiguration, OSError):
        return []


async def _published(config: Config) -> AsyncIterator[Finding]:
    try:
        for name in config.policies:
            async with operator_session(config, name) as at:
                refused = await refusal(at)
            if refused is not None:
                # Where a setting was changed, nothing is lost: only that ends it.
                changed = refused.remedy.partition(f"; {CHECK}")[0] if CHECK in refused.remedy else None
                found = f"{refused.what}: found {refused.found}, expected {refused.expected}"
                yield Finding(f"state of policy {name}", False, found, changed or "run `bowerbird recover`")
            else:
                yield Finding(f"state of policy {name}", True, "a learner can go on from it")
    except Exception as error:
        if preflight.explain(error, config) is None:
            raise
        # The findings on the servers and the topics say what is not there.


def _setting(name: str, found: str | None, needed: str, risk: str) -> Finding:
    if found is None:
        # Nothing to hold against it: who hosts this Redis answers for it.
        return Finding(f"redis {name}", True, f"not known; it must be {needed}, else {risk}")
    if found == needed:
        return Finding(f"redis {name}", True, found)
    remedy = f"CONFIG SET {name} {needed} (and in redis.conf): {risk}"
    return Finding(f"redis {name}", False, f"{found}, needed: {needed}", remedy)


def _policies(config: Config) -> Iterator[Finding]:
    for name, policy in config.policies.items():
        problems = checks.check(policy.kind, policy.arguments)
        if not problems:
            yield Finding(f"policy {name}", True, f"{policy.kind}, obeys the laws of every policy")
        for problem in problems:
            yield Finding(f"policy {name}", False, problem, f"change policies.{name}.kind or .arguments")


async def _learning(config: Config) -> AsyncIterator[Finding]:
    """Look at what was decided and earned lately; a server that is away has been reported already."""
    try:
        async with Observer(config, LEARNING_OVER_MINUTES) as observer:
            status = await observer.look()
    except Exception as error:
        if preflight.explain(error, config) is None:
            raise
        return
    for policy in status.policies:
        if config.policies[policy.name].kind != "vw":
            continue
        subject = f"learning {policy.name}"
        if not policy.symptoms:
            seen = f"{policy.decisions} decisions and {policy.outcomes} outcomes of the last hour"
            yield Finding(subject, True, f"nothing keeps it from learning in {seen}")
        for symptom in policy.symptoms:
            found, _, remedy = symptom.sentence.partition(". ")
            yield Finding(subject, not symptom.fatal, found, remedy)


def _archive(url: str, prefix: str) -> Finding:
    try:
        # pyarrow is needed by none but who archives.
        from archive.location import place_of
        from archive.names import log_file

        place = place_of(url)
        if (local := place.local) is not None and not _writable(local):
            remedy = "give its rights to who runs the archive role, or set archive.url to another folder"
            return Finding("archive", False, f"{local} cannot be written", remedy)
        known = place.read(log_file(prefix))
    except ModuleNotFoundError as error:
        found, _, remedy = sentence("archive", error, "archive").removeprefix("archive: ").partition(": ")
        return Finding("archive", False, found, remedy)
    except WrongConfiguration as error:
        return _failed("archive", str(error))
    except OSError as error:
        return Finding("archive", False, of_disk(error), "see that archive.url can be read and written from here")
    return Finding("archive", True, f"{place.root}, " + ("a copy of this log goes on" if known else "empty as yet"))


def _writable(folder: Path) -> bool:
    """Tell whether a folder can be written, or can be made where it is not there yet."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _failed(subject: str, explained: str) -> Finding:
    found, _, remedy = explained.partition(": ")
    return Finding(subject, False, found, remedy)
