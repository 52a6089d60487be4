"""What no single setting can tell: settings that contradict each other or the loop's own names."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

from archive.names import ARCHIVE_SCHEMES
from bowerbird.settings.toml_lines import KeyPath
from policies.registry import KINDS
from policies.vw.arguments import parse
from records.errors import WrongConfiguration, shorten
from records.fields import NAME_PATTERN
from records.limits import ACTION_BYTES, INPUT_MESSAGE_BYTES, LAST_PORT, MOST_FEEDBACK, TOPIC_NAME_CHARACTERS
from stream.config import OWN_TOPICS, Config, PlacementConfig, PolicyConfig
from stream.role import SUPERVISOR_PORT

MISSPELT_LETTERS = 2
"""A name is taken for a misspelt one if it has at most so many letters more or less."""


class Contradiction(NamedTuple):
    """A setting that contradicts others; ``others`` are theirs, ``found`` and ``expected`` are shown."""

    key: KeyPath
    found: str
    expected: str
    others: tuple[KeyPath, ...] = ()


def contradictions(config: Config) -> Iterator[Contradiction]:
    """Return every contradiction of settings that are valid one by one."""
    yield from _servers(config)
    yield from _times(config)
    yield from _reply_topics(config)
    yield from _archive(config)
    yield from _limits(config)
    if not config.policies:
        yield Contradiction(("policies",), "none", "at least one table [policies.NAME]")
    elif not config.placements:
        yield Contradiction(("placements",), "none", "at least one table [placements.NAME]")
    for name, policy in config.policies.items():
        yield from _policy(config, name, policy)
    for name, placement in config.placements.items():
        yield from _placement(config, name, placement)
    yield from _shared_salts(config)


def _servers(config: Config) -> Iterator[Contradiction]:
    for broker in config.brokers.split(","):
        host, _, port = broker.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            yield Contradiction(("brokers",), repr(broker.strip()), "host:port, comma separated")
    try:
        url = urlsplit(config.redis_url)
        usable = (url.scheme in ("redis", "rediss") and bool(url.hostname) and url.port != 0) or (
            url.scheme == "unix" and bool(url.path)
        )
    except ValueError:
        usable = False
    if not usable:
        # Never the URL itself: it may hold a password in the wrong place.
        yield Contradiction(("redis_url",), "an unusable URL", "redis://host:port/0, rediss:// or unix://path")
    if not re.fullmatch(r"[A-Za-z0-9._-]*", config.prefix):
        yield Contradiction(("prefix",), repr(config.prefix), "only letters, digits and . _ -")
    if config.metrics_port and config.metrics_port + SUPERVISOR_PORT > LAST_PORT:
        yield Contradiction(
            ("metrics_port",),
            str(config.metrics_port),
            f"at most {LAST_PORT - SUPERVISOR_PORT}: the other roles' ports follow",
        )


def _times(config: Config) -> Iterator[Contradiction]:
    longest = config.longest_window_s
    windows = tuple(
        ("placements", name, "window_s") for name, each in config.placements.items() if each.window_s == longest
    )
    if config.dedup_horizon_s < 2 * longest:
        yield Contradiction(
            ("dedup_horizon_s",),
            f"{config.dedup_horizon_s:g}",
            f"at least twice the longest window of {longest:g} s",
            windows,
        )
    needed = longest + config.survive_outage_s
    if config.retention_s < needed:
        yield Contradiction(
            ("retention_s",),
            f"{config.retention_s:g}",
            f"at least {needed:g}: the longest window of {longest:g} s and survive_outage_s",
            (*windows, ("survive_outage_s",)),
        )
    if config.early_s > config.dedup_horizon_s / 2:
        yield Contradiction(
            ("early_s",),
            f"{config.early_s:g}",
            f"at most half of dedup_horizon_s, {config.dedup_horizon_s:g}",
            (("dedup_horizon_s",),),
        )


def _reply_topics(config: Config) -> Iterator[Contradiction]:
    own = [*OWN_TOPICS, *config.streams]
    for pattern in config.reply_topics:
        if matched := [name for name in own if fnmatchcase(name, pattern)]:
            expected = f"none that matches a topic of the loop or a stream, as it does {', '.join(matched)}"
            yield Contradiction(("reply_topics",), repr(pattern), expected)


def _archive(config: Config) -> Iterator[Contradiction]:
    scheme, separator, _ = (config.archive.url or "").partition("://")
    if separator and scheme not in ARCHIVE_SCHEMES:
        # Never the URL itself: it may hold a key.
        expected = f"a folder, or a URL that begins with one of {', '.join(ARCHIVE_SCHEMES)}"
        yield Contradiction(("archive", "url"), repr(shorten(scheme)), expected)


def _limits(config: Config) -> Iterator[Contradiction]:
    limits = config.limits
    most = {"max_request_bytes": INPUT_MESSAGE_BYTES, "max_name_bytes": ACTION_BYTES, "max_feedback": MOST_FEEDBACK}
    for name in type(limits).__dataclass_fields__:
        if (found := getattr(limits, name)) < 1:
            yield Contradiction(("limits", name), str(found), "a whole number of at least 1")
        elif name in most and found > most[name]:
            yield Contradiction(("limits", name), str(found), f"at most {most[name]}")


def _policy(config: Config, name: str, policy: PolicyConfig) -> Iterator[Contradiction]:
    here = ("policies", name)
    if not re.fullmatch(NAME_PATTERN, name):
        yield Contradiction(here, repr(name), f"a policy's name that matches {NAME_PATTERN}")
    if policy.kind not in KINDS:
        yield Contradiction((*here, "kind"), repr(policy.kind), "one of " + ", ".join(KINDS))
    if policy.kind == "vw":
        try:
            parse(policy.arguments)
        except WrongConfiguration as refused:
            yield Contradiction((*here, "arguments"), shorten(repr(policy.arguments)), f"others: {refused}")
    for placement in policy.placements or ():
        if placement not in config.placements:
            yield Contradiction((*here, "placements"), repr(placement), _one_of(config.placements))
    if len(set(policy.placements or ())) < len(policy.placements or ()):
        yield Contradiction((*here, "placements"), "a placement twice", "each placement once")
    if config.placements and policy.placements is None and not config.decided_by(name):
        expected = "a placement whose policy it is, or placements to learn from, as in placements = ['home']"
        yield Contradiction(here, "a policy of no placement", expected)
    partitions = {config.rewards_partition(placement) for placement in config.placements_of(name)}
    if len(partitions) > 1:
        own = tuple(("placements", placement, "partition") for placement in config.placements_of(name))
        found = " and ".join(map(str, sorted(partitions)))
        yield Contradiction(here, f"placements in partitions {found}", "placements in one partition of rewards", own)


def _one_of(known: Iterable[str]) -> str:
    return f"one of {', '.join(known) or 'none, since the settings have none'}"


def _placement(config: Config, name: str, placement: PlacementConfig) -> Iterator[Contradiction]:
    here: KeyPath = ("placements", name)
    if not re.fullmatch(NAME_PATTERN, name):
        yield Contradiction(here, repr(name), f"a placement's name that matches {NAME_PATTERN}")
    if (policy := config.policy_of(name)) not in config.policies:
        key: KeyPath = here if placement.policy is None else (*here, "policy")
        yield Contradiction(key, repr(policy), f"a policy: {_one_of(config.policies)}")
    if placement.partition is not None and placement.partition >= config.rewards_partitions:
        yield Contradiction(
            (*here, "partition"),
            str(placement.partition),
            f"less than rewards_partitions, {config.rewards_partitions}",
            (("rewards_partitions",),),
        )
    for key, stream in _named_streams(here, placement):
        if not re.fullmatch(NAME_PATTERN, stream):
            yield Contradiction(key, repr(stream), f"a stream's name that matches {NAME_PATTERN}")
        elif stream in OWN_TOPICS:
            yield Contradiction(key, repr(stream), "a stream's name that is not one of the loop's own topics")
        elif len(config.topic(stream)) > TOPIC_NAME_CHARACTERS:
            yield Contradiction(key, repr(stream), f"at most {TOPIC_NAME_CHARACTERS} characters with the prefix")
        elif (
            key[-1] in ("close_on", "activate_on")
            and (meant := _misspelt(stream, placement.reward.streams)) is not None
        ):
            expected = (
                f"a stream that people's events come on; did you mean {meant}? Else give {stream} a table (weight = 0)"
            )
            yield Contradiction(key, repr(stream), expected)
    if len(set(placement.reward.close_on)) < len(placement.reward.close_on):
        yield Contradiction((*here, "reward", "close_on"), "a stream twice", "each stream once")


def _named_streams(here: KeyPath, placement: PlacementConfig) -> Iterator[tuple[KeyPath, str]]:
    for stream in placement.reward.streams:
        yield (*here, "reward", "streams", stream), stream
    for stream in placement.reward.close_on:
        yield (*here, "reward", "close_on"), stream
    if placement.activate_on is not None:
        yield (*here, "activate_on"), placement.activate_on


def _misspelt(stream: str, known: Iterable[str]) -> str | None:
    """Return the known stream that a name seems to mean; names that end in another number or part are others.

    >>> _misspelt("click", ["clicks"]), _misspelt("clicks", ["clicks"]), _misspelt("click-b", ["click-a"])
    ('clicks', None, None)
    """
    if stream in known:
        return None
    alike = [name for name in known if name[:1] == stream[:1] and abs(len(name) - len(stream)) <= MISSPELT_LETTERS]
    near = [name for name in get_close_matches(stream, alike, 1, 0.8) if _parts(name) == _parts(stream)]
    return near[0] if near else None


def _parts(name: str) -> list[str]:
    """Return what stands between the letters of the first word and the end: numbers and further words."""
    return re.findall(r"\d+|-[a-z]*", name)


def _shared_salts(config: Config) -> Iterator[Contradiction]:
    seen: dict[str, str] = {}
    for name in config.policies:
        other = seen.setdefault(config.salt(name), name)
        if other != name:
            key = ("policies", name, "salt") if config.policies[name].salt else ("policies", other, "salt")
            yield Contradiction(
                key,
                repr(config.salt(name)),
                f"a salt of its own: the draws of {other} and {name} would be the same",
                (("policies", other, "salt"), ("policies", name, "salt")),
            )
