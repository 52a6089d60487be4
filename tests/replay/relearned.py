"""The policies of a loop in memory, learned again from its log."""

from bowerbird.fake import FakeLoop
from records.policy_version import PolicyVersion
from records.versions import versions_in
from replay.proof.rebuild import Rebuild
from stream.config import identity_in


def versions_of(loop: FakeLoop, policy: str) -> list[PolicyVersion]:
    """Return the published versions of a policy."""
    published = [each for message in loop.messages("versions") for each in versions_in(message.value, {})]
    return [each for each in published if each.policy == policy]


def relearned(loop: FakeLoop, policy: str) -> Rebuild:
    """Return a policy learned again, after a check that every published version is one of the replay."""
    published = versions_of(loop, policy)
    rebuild = Rebuild(policy, identity_in(loop.config, policy), published)
    rebuilt = []
    for record in loop.messages("rewards"):
        rebuilt += rebuild.until(record.offset)
        rebuild.learn(record)
    rebuilt += rebuild.until(published[-1].cut)
    assert [each.digest for each in rebuilt] == [each.digest for each in published]
    assert [each.last_seqs for each in rebuilt] == [each.last_seqs for each in published]
    assert not rebuild.jumps
    assert not rebuild.refused
    return rebuild
