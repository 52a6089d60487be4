"""Compare the published weights, and the live ones, with what the log makes of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from policies.policy import digest, version_name
from policies.policy_store import PolicyIdentity, identity_of
from policies.registry import make
from records.message import Message
from records.policy_version import PolicyVersion
from records.versions import versions_in
from replay.proof.rebuild import Rebuild, Rebuilt
from replay.proof.request import VerificationRequest
from replay.proof.verdict import Findings

_version = msgspec.json.Decoder(PolicyVersion)


def published_in(message: Message, policy: str, highest: dict[str, int]) -> list[PolicyVersion]:
    """Return the versions of a policy in a message of ``versions``; ``highest`` as :func:`versions_in` has it.

    What is not a version is left out, as the learner does; a version that became unreadable is missing in the chain of
    numbers.
    """
    return [version for version in versions_in(message.value, highest) if version.policy == policy]


class _Position(NamedTuple):
    """What the log gives up to the live position."""

    digest: str
    last_seqs: dict[str, int]
    examples: int


class Weights:
    """Compares every published version, and the live one, with what a replay of ``rewards`` gives.

    Attributes
    ----------
    learned, waiting, refused
        Outcomes that the live version holds, that no version holds yet, that the policy could not learn; set
        by :meth:`finish`.
    held, taken_back
        Outcomes that came while an operator held the weights, or that an operator took out of them.
    rebuilt
        The versions that were computed again.
    live_digest, recomputed_digest
        The digest of the bytes in Redis, and that of the same version computed from the log.
    """

    def __init__(self, request: VerificationRequest, findings: Findings) -> None:
        self.learned = self.waiting = self.refused = self.held = self.taken_back = 0
        self.rebuilt: list[Rebuilt] = []
        self.live_digest = self.recomputed_digest = ""
        self._request = request
        self._findings = findings
        self._versions: dict[int, PolicyVersion] = {}
        self._highest = {request.policy: request.live.record.number} if request.live.record else {}
        self._rebuild: Rebuild | None = None
        self._position: _Position | None = None

    def versions(self, message: Message) -> None:
        """Take in a message of ``versions``; all of them come before the first of ``rewards``."""
        request = self._request
        live = request.live.record
        before_live = request.versions_end is None or message.offset < request.versions_end
        for record in published_in(message, request.policy, self._highest):
            if record.number > (live.number if live else 0):
                if before_live:
                    self._findings.add(
                        "live",
                        record.version,
                        f"`versions` holds version {record.number}, Redis holds {_name(live)}: "
                        "Redis has forgotten a published version",
                    )
                else:
                    # Published while this verification began; the next one will see it.
                    continue
            if (known := self._versions.setdefault(record.number, record)) != record:
                self._findings.add(
                    "versions",
                    record.version,
                    f"two records of version {record.number} differ: {known.version} and {record.version}",
                )

    def rewards(self, message: Message) -> None:
        """Take in a message of the policy's partition of ``rewards``."""
        rebuild = self._started()
        self._pass(rebuild, message.offset)
        rebuild.learn(message)

    def finish(self) -> None:
        """Compare; nothing more comes."""
        rebuild = self._started()
        self._pass(rebuild, self._request.rewards_end)
        self.refused, self.held, self.taken_back = rebuild.refused, rebuild.held, rebuild.taken_back
        self.learned = self._position.examples if self._position else 0
        self.waiting = rebuild.examples - self.learned
        gone = self._gone(rebuild.first_seqs)
        for jump in rebuild.jumps:
            if not (jump.last == 0 and jump.outbox in gone):
                self._findings.add(
                    "gap",
                    f"rewards, offset {jump.offset}",
                    f"{jump.outbox}: seq {jump.outcome_seq} follows seq {jump.last}: "
                    f"{jump.outcome_seq - jump.last - 1} outcomes are lost",
                )
        self._compare_live()
        if gone:
            for outbox, seq in sorted(gone.items()):
                self._findings.add(
                    "not_verifiable",
                    outbox,
                    f"not verifiable before seq {seq}: `rewards` starts at offset "
                    f"{self._request.rewards_start}, so no version can be computed again",
                )
            self.rebuilt.clear()
            return
        excused = self._excuse_removed()
        for version in rebuild.unreached:
            self._findings.add(
                "cut",
                version.version,
                f"its cut {version.cut} lies beyond the end of `rewards`, {self._request.rewards_end}",
            )
        for rebuilt in self.rebuilt:
            self._compare(rebuilt, excused)
        self._compare_live_with_log(rebuild, excused)

    def _started(self) -> Rebuild:
        if self._rebuild is None:
            request = self._request
            if (live := request.live.record) is not None:
                # Its record is written to `versions` before the next version is published, not at once.
                self._versions.setdefault(live.number, live)
            versions = [self._versions[number] for number in sorted(self._versions)]
            identity = identity_of(versions[0]) if versions else request.identity
            _check_chain(request, self._findings, versions, identity, max(0, self._removed_before() - 1))
            self._rebuild = Rebuild(request.policy, identity, versions)
        return self._rebuild

    def _removed_before(self) -> int:
        """Return the first version that is there, where retention has removed those before it; else 0."""
        first = min(self._versions, default=0)
        return first if first > 1 and self._request.versions_start else 0

    def _excuse_removed(self) -> bool:
        """Name what retention has removed of ``versions``; tell whether the weights cannot be proved without it.

        What was removed may have held the weights, or gone back to former ones: then the log alone gives others.
        """
        first = self._removed_before()
        if not first:
            return False
        excused = any(
            rebuilt.digest != rebuilt.published.digest or rebuilt.examples != rebuilt.published.examples
            for rebuilt in self.rebuilt
        )
        self._findings.add(
            "not_verifiable",
            self._versions[first].version,
            f"not verifiable before version {first}: `versions` starts at offset {self._request.versions_start}"
            + (", and later versions cannot be computed again without those before" if excused else ""),
        )
        return excused

    def _pass(self, rebuild: Rebuild, offset: int) -> None:
        """Publish what was published below ``offset``, and note what the live position gives."""
        self.rebuilt += rebuild.until(offset)
        if self._position is None and offset >= self._live_cut():
            self._position = _Position(rebuild.digest(), rebuild.seqs(), rebuild.examples)

    def _live_cut(self) -> int:
        live = self._request.live
        return max(live.cut or 0, live.record.cut if live.record else 0)

    def _gone(self, first_seqs: Mapping[str, int]) -> dict[str, int]:
        """Return the first seq that is there, per outbox of which retention has removed outcomes."""
        if self._request.rewards_start == 0:
            return {}
        gone = {outbox: seq for outbox, seq in first_seqs.items() if seq > 1}
        for record in self._versions.values():
            for outbox, seq in record.last_seqs.items():
                if outbox not in first_seqs and seq > 0:
                    gone[outbox] = max(seq + 1, gone.get(outbox, 0))
        return gone

    def _compare(self, rebuilt: Rebuilt, excused: bool) -> None:
        published = rebuilt.published
        add = self._findings.add
        if rebuilt.digest != published.digest and not excused:
            made_by = f"; published by {published.vw_build} on {published.processor}" if published.vw_build else ""
            add(
                "digest",
                published.version,
                f"the log gives {rebuilt.digest}, published is {published.digest}{made_by}",
            )
        if rebuilt.last_seqs != dict(published.last_seqs):
            add(
                "last_seqs",
                published.version,
                f"up to its cut {published.cut} the log holds {rebuilt.last_seqs}, published is {published.last_seqs}",
            )
        if rebuilt.examples != published.examples and not excused:
            add(
                "examples",
                published.version,
                f"up to its cut {published.cut} the log gives {rebuilt.examples}, published is {published.examples}",
            )

    def _compare_live(self) -> None:
        record, model, cut, _ = self._request.live
        if (record is None) != (model is None):
            has, lacks = ("bytes", "record") if record is None else ("record", "bytes")
            self._findings.add("live", _name(record), f"Redis holds the {has} of the policy but not its {lacks}")
        if record is None:
            return
        if model is not None and digest(model) != record.digest:
            self._findings.add(
                "live",
                record.version,
                f"the bytes in Redis have digest {digest(model)}, its record {record.digest}",
            )
        if cut is not None and cut < record.cut:
            self._findings.add(
                "position",
                record.version,
                f"the position in Redis, {cut}, lies below the version's cut {record.cut}",
            )

    def _compare_live_with_log(self, rebuild: Rebuild, excused: bool) -> None:
        record, model, cut, last_seqs = self._request.live
        add = self._findings.add
        if record is None:
            self.recomputed_digest = self.live_digest = digest(
                make(rebuild.identity.kind, rebuild.identity.arguments).dump()
            )
        else:
            self.live_digest = digest(model or b"")
            for rebuilt in self.rebuilt:
                if rebuilt.published.number == record.number:
                    self.recomputed_digest = rebuilt.digest
            if self.live_digest != self.recomputed_digest and not excused:
                add(
                    "live",
                    record.version,
                    f"the log gives {self.recomputed_digest or 'nothing'}, the bytes in Redis have {self.live_digest}",
                )
        if cut is None or self._position is None:
            return
        if last_seqs is not None and dict(last_seqs) != self._position.last_seqs:
            add(
                "position",
                _name(record),
                f"up to offset {cut} the log holds {self._position.last_seqs}, Redis says {dict(last_seqs)}",
            )
        if self._position.digest != self.recomputed_digest and not excused:
            add(
                "position",
                _name(record),
                f"the position in Redis, {cut}, lies beyond outcomes that the live version has not learned",
            )


def _check_chain(
    request: VerificationRequest,
    findings: Findings,
    versions: Sequence[PolicyVersion],
    identity: PolicyIdentity,
    before: int,
) -> None:
    """Compare the versions with each other; ``before``: the number of the last one that retention has removed."""
    if identity != request.identity:
        findings.add("arguments", request.policy, f"published as {identity}, configured as {request.identity}")
    number, cut = before, 0
    for version in versions:
        if version.number != number + 1:
            findings.add("versions", version.version, f"follows version {number}: what lies between is missing")
        if version.cut < cut:
            findings.add("cut", version.version, f"its cut {version.cut} lies below its predecessor's, {cut}")
        if identity_of(version) != identity:
            findings.add(
                "arguments", version.version, f"published as {identity_of(version)}, the first one as {identity}"
            )
        if version.version != version_name(version.number, version.digest):
            findings.add(
                "versions",
                version.version,
                f"number and digest make {version_name(version.number, version.digest)}",
            )
        number, cut = version.number, version.cut


def _name(record: PolicyVersion | None) -> str:
    return "version 0" if record is None else record.version
