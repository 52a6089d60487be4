"""A version of a policy, computed again from the archive alone: to judge it, no server has to run."""

from collections.abc import Callable
from typing import NamedTuple

from archive.reader import Archive
from policies.assemble import deciding
from policies.policy import Policy, version_name
from policies.policy_store import PolicyIdentity, identity_of
from policies.registry import make
from records.errors import StateRefused, WrongConfiguration
from records.limits import LAST_OFFSET
from records.policy_version import PolicyVersion
from replay.proof.published import published_in
from replay.proof.rebuild import Rebuild


class ArchivedPolicy(NamedTuple):
    """A policy to be judged.

    Attributes
    ----------
    name
        Policy and version, as in ``front@12-0a1b2c3d``; or ``uniform``.
    learned_from
        The placements whose outcomes it learned, all of those below the offset ``cut`` of their partition.
    """

    name: str
    policy: Policy
    learned_from: tuple[str, ...] = ()
    cut: int = 0


def uniform() -> ArchivedPolicy:
    """Return the policy that draws every action alike."""
    return ArchivedPolicy("uniform", make("uniform", ""))


def archived_policy(
    archive: Archive, target: str, configured: Callable[[str], PolicyIdentity | None]
) -> ArchivedPolicy:
    """Return a version of a policy.

    Parameters
    ----------
    target
        ``NAME`` for its latest version in the archive, or ``NAME@VERSION`` (``front@12``, ``front@12-0a1b2c3d``).
    configured
        Asked for a policy of which the archive has no version: its version 0 is judged.

    Raises
    ------
    WrongConfiguration
        There is no such policy, or no such version.
    StateRefused
        The archive does not give the version that was published.
    """
    name, _, wanted = target.partition("@")
    versions: dict[int, PolicyVersion] = {}
    highest: dict[str, int] = {}
    for message in archive.messages("versions", 0, 0, LAST_OFFSET):
        for version in published_in(message, name, highest):
            versions.setdefault(version.number, version)
    first = next(iter(versions.values()), None)
    identity = configured(name) if first is None else identity_of(first)
    if identity is None:
        raise WrongConfiguration(
            f"--target: found {name}, expected uniform, or a policy that the archive or the configuration knows"
        )
    digits = wanted.partition("-")[0] if wanted else str(max(versions, default=0))
    number = int(digits) if digits.isdecimal() and len(digits) < 20 else -1
    if number and number not in versions:
        known = f"0 to {max(versions)}" if versions else "0 alone"
        raise WrongConfiguration(
            f"--target: found version {wanted} of {name}, expected one that the archive has: {known}"
        )
    rebuild = Rebuild(name, identity, [versions[each] for each in sorted(versions) if each <= number])
    if number:
        _learn_again(rebuild, archive, versions[number])
    full = version_name(number, rebuild.digest())
    if wanted not in ("", digits, full):
        raise WrongConfiguration(f"--target: found version {wanted} of {name}, expected {full}, as the archive has it")
    cut = versions[number].cut if number else 0
    policy = deciding(versions.get(number), lambda: rebuild.policy)
    return ArchivedPolicy(f"{name}@{full}", policy, identity.placements, cut)


def _learn_again(rebuild: Rebuild, archive: Archive, version: PolicyVersion) -> None:
    for message in archive.messages("rewards", version.partition, 0, version.cut):
        rebuild.until(message.offset)
        rebuild.learn(message)
    rebuild.until(version.cut)
    if (digest := rebuild.digest()) == version.digest:
        return
    late = {shard: seq for shard, seq in rebuild.first_seqs.items() if seq > 1}
    if rebuild.jumps or late or rebuild.seqs() != version.last_seqs:
        why = "the archive does not have all outcomes that it learned: bring them back, or name a version 0"
    else:
        why = f"it was computed on {version.processor or 'another processor'} by {version.vw_build or 'another build'}"
    raise StateRefused(
        f"version {version.version} of policy {rebuild.name}, computed again", digest[:8], version.digest[:8], why
    )
