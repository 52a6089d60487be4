"""Verification: a sound log is right in every figure, and every kind of damage is found and named."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies.policy import digest, version_name
from policies.policy_store import PolicyIdentity
from records.feedback import CountedFeedback
from records.outcome import Outcome
from records.policy_version import PolicyVersion
from replay.proof.request import Live
from replay.proof.verdict import Verdict
from tests.replay.world import World, busy_world, decision


@pytest.fixture(scope="module")
def sound() -> World:
    return busy_world()


@pytest.fixture
def world(sound: World) -> World:
    return deepcopy(sound)


def kinds(verdict: Verdict) -> set[str]:
    return set(verdict.found)


def changed(outcome: Outcome, **changes: Any) -> Outcome:
    return msgspec.structs.replace(outcome, **changes)


def front(world: World, wanted: Callable[[Outcome], bool] = lambda outcome: True) -> tuple[int, Outcome]:
    return next(
        (index, outcome) for index, outcome in world.outcomes() if outcome.policy == "front" and wanted(outcome)
    )


def with_version(world: World, index: int, **changes: Any) -> None:
    world.versions[index] = msgspec.structs.replace(world.versions[index], **changes)


def republished(world: World) -> None:
    """Learn the damaged log, so that only the damage to an outcome itself can be found."""
    world.publish(5)


def test_a_sound_log_is_right_in_every_figure(world: World) -> None:
    verdict = world.verify()
    assert verdict.ok
    assert verdict.identical
    assert verdict.findings == []
    assert verdict.decisions == verdict.outcomes + verdict.pending
    assert verdict.pending == 2
    assert verdict.outcomes == sum(verdict.closed.values())
    assert set(verdict.closed) == {"window", "early", "conflicting", "not_activated", "expired"}
    learnable = verdict.closed["window"] + verdict.closed["early"]
    assert verdict.learned + verdict.waiting == learnable
    assert verdict.versions == len(world.versions) > 3
    assert verdict.external > 0
    assert verdict.copies > 0
    assert verdict.live_digest == verdict.recomputed_digest == digest(world.models[-1])


def test_every_policy_of_a_shared_log_is_verified_by_itself(world: World) -> None:
    world.versions, world.live = [], Live(None, None)
    verdict = world.verify("side")
    assert verdict.ok
    assert verdict.outcomes > 0
    assert verdict.learned == 0


def test_a_verdict_is_json(world: World) -> None:
    assert msgspec.json.decode(msgspec.json.encode(world.verify()))["identical"] is True


def test_repeats_are_counted_and_harmless(world: World) -> None:
    repeated = [outcome for _, outcome in world.outcomes()][:4]
    world.append_outcomes(world.watermark_ms, repeated)
    verdict = world.verify()
    assert verdict.ok
    assert verdict.repeats == sum(outcome.policy == "front" for outcome in repeated)


def test_a_copy_with_other_spaces_and_another_order_of_fields_is_a_repeat(world: World) -> None:
    index, outcome = front(world, lambda outcome: len(outcome.feedback) > 0)
    fields = json.loads(msgspec.json.encode(outcome))
    turned = {name: _turned(value) for name, value in reversed(fields.items())}
    log = world.logs["rewards", 0]
    copies = [json.dumps([turned], indent=2).encode(), json.dumps([fields]).encode()]
    for copy in copies:
        log.append(log[-1]._replace(offset=log[-1].offset + 1, value=copy))
    assert index < len(log)
    verdict = world.verify()
    assert verdict.ok, verdict.findings
    assert verdict.repeats == len(copies)


def _turned(value: Any) -> Any:
    """Return a JSON value with the fields of each object in the opposite order."""
    if isinstance(value, dict):
        return {name: _turned(part) for name, part in reversed(value.items())}
    return [_turned(part) for part in value] if isinstance(value, list) else value


# Damage to outcomes.


def test_a_missing_outcome(world: World) -> None:
    last = max(index for index, outcome in world.outcomes() if outcome.policy == "front")
    world.rewrite(last, [])
    republished(world)
    verdict = world.verify()
    assert verdict.missing == 1
    assert kinds(verdict) == {"missing"}


def test_an_outcome_missing_in_the_middle_is_a_gap_too(world: World) -> None:
    index, outcome = front(world)
    world.rewrite(index, [])
    republished(world)
    verdict = world.verify()
    assert verdict.missing == 1
    assert kinds(verdict) == {"missing", "gap"}
    assert f"seq 2 follows seq {outcome.outcome_seq - 1}" in verdict.findings[0].message


def test_a_doubled_outcome(world: World) -> None:
    _, outcome = front(world)
    last_seq = max(
        other.outcome_seq
        for _, other in world.outcomes()
        if (other.policy, other.shard) == (outcome.policy, outcome.shard)
    )
    world.append_outcomes(world.watermark_ms + 1000, [changed(outcome, outcome_seq=last_seq + 1)])
    republished(world)
    verdict = world.verify()
    assert verdict.doubled == 1
    assert kinds(verdict) == {"doubled", "order"}


def test_one_seq_with_two_outcomes(world: World) -> None:
    _, outcome = front(world)
    world.append_outcomes(world.watermark_ms, [changed(outcome, reward=outcome.reward + 1)])
    assert kinds(world.verify()) == {"contradiction"}


def test_one_seq_for_two_event_ids(world: World) -> None:
    _index, outcome = front(world)
    world.append_outcomes(world.watermark_ms, [changed(outcome, event_id="visit-9999")])
    verdict = world.verify()
    assert "contradiction" in kinds(verdict)


def test_an_outcome_of_no_decision(world: World) -> None:
    index, outcome = front(world)
    world.rewrite(index, [changed(outcome, event_id="nobody-decided-this")])
    republished(world)
    assert {"unfounded", "missing"} <= kinds(world.verify())


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("reward", lambda outcome: {"reward": outcome.reward + 2**-40}),
        ("learn", lambda outcome: {"learn": not outcome.learn}),
        ("why", lambda outcome: {"why": "window" if outcome.why != "window" else "early"}),
        ("deadline", lambda outcome: {"closed_ms": outcome.closed_ms + 1}),
        ("feedback", lambda outcome: {"feedback": outcome.feedback[1:]}),
        ("shard", lambda outcome: {"shard": 1 - outcome.shard}),
        ("decision", lambda outcome: {"decision": msgspec.Raw(bytes(outcome.decision).replace(b"t0", b"t1"))}),
        (
            "decision",
            lambda outcome: {"decision_position": changed_place(outcome.decision_position, offset=4444)},
        ),
        (
            "decision",
            lambda outcome: {"decision_position": changed_place(outcome.decision_position, topic="elsewhere")},
        ),
        ("decision", lambda outcome: {"policy_version": "7-00000000"}),
    ],
)
def test_a_wrong_part_of_an_outcome(world: World, kind: str, change: Callable[[Outcome], dict[str, Any]]) -> None:
    index, outcome = front(world, lambda each: len(each.feedback) > 1 and b"t0" in bytes(each.decision))
    world.rewrite(index, [changed(outcome, **change(outcome))])
    republished(world)
    verdict = world.verify()
    assert kind in kinds(verdict), verdict
    finding = next(finding for finding in verdict.findings if finding.kind == kind)
    assert finding.where == outcome.event_id
    assert verdict.found[kind] == 1
    assert verdict.wrong == (0 if kind == "shard" else 1)
    assert not verdict.ok


def changed_place(place: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(place, **changes)


def test_feedback_that_was_altered_in_the_outcome(world: World) -> None:
    index, outcome = front(world, lambda each: bool(each.feedback))
    event = msgspec.structs.replace(outcome.feedback[0], event=msgspec.Raw(b'{"event_id": "x"}'))
    world.rewrite(index, [changed(outcome, feedback=[event, *outcome.feedback[1:]])])
    republished(world)
    assert kinds(world.verify()) == {"feedback"}


def test_outcomes_that_carry_only_the_fields_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the join writes them where the feedback of a decision is a megabyte and more."""
    monkeypatch.setattr("rewards.outcome.WHOLE_FEEDBACK_BYTES", 0)
    verdict = busy_world().verify()
    assert verdict.findings == []
    assert verdict.ok


def test_a_record_that_is_no_outcome(world: World) -> None:
    log = world.logs["rewards", 0]
    log.append(log[-1]._replace(offset=log[-1].offset + 2, value=b'[{"v": 1}]'))
    assert kinds(world.verify()) == {"unreadable"}


def test_outcomes_that_closed_in_another_order(world: World) -> None:
    both = [
        (index, outcome) for index, outcome in world.outcomes() if outcome.policy == "front" and outcome.shard == 0
    ][:2]
    (one, first), (two, second) = both
    world.rewrite(one, [changed(second, outcome_seq=first.outcome_seq)])
    world.rewrite(two, [changed(first, outcome_seq=second.outcome_seq)])
    republished(world)
    assert kinds(world.verify()) == {"order"}


def test_what_lies_in_the_log_late_is_pending_and_not_missing(world: World) -> None:
    last = max(index for index, outcome in world.outcomes() if outcome.policy == "front")
    _, outcome = next(pair for pair in world.outcomes() if pair[0] == last)
    world.rewrite(last, [])
    republished(world)
    verdict = world.verify(watermark_ms=outcome.closed_ms)
    assert verdict.ok
    assert verdict.pending == 3


# Damage to weights, versions and what Redis holds.


def test_a_changed_byte_of_the_live_weights(world: World) -> None:
    model = bytearray(world.models[-1])
    model[-1] ^= 1
    world.live = world.live._replace(model=bytes(model))
    verdict = world.verify()
    assert kinds(verdict) == {"live"}
    assert not verdict.identical
    assert verdict.live_digest == digest(bytes(model)) != verdict.recomputed_digest


def test_weights_that_the_log_does_not_give(world: World) -> None:
    _, outcome = front(world, lambda each: each.learn)
    index = front(world, lambda each: each.learn)[0]
    world.rewrite(index, [changed(outcome, reward=outcome.reward + 1)])
    verdict = world.verify()
    assert {"digest", "live", "reward"} <= kinds(verdict)
    assert not verdict.identical
    # Every version holds that outcome.
    assert verdict.found["digest"] == len(world.versions)


def test_an_outcome_that_was_learned_twice(world: World) -> None:
    """The learner took an outcome twice: the digests differ although the log is right."""
    index, outcome = front(world, lambda each: each.learn)
    log = world.logs["rewards", 0]
    sound = log[index]
    world.rewrite(index, [outcome])
    world.logs["rewards", 0] = [*log[: index + 1], *log[index:]]
    twice = changed(outcome, outcome_seq=outcome.outcome_seq, shard=2)
    world.logs["rewards", 0][index + 1] = sound._replace(value=msgspec.json.encode([twice]))
    world.publish(5)
    world.logs["rewards", 0] = log
    assert "digest" in kinds(world.verify())


def test_a_wrong_cut(world: World) -> None:
    with_version(world, 1, cut=world.versions[1].cut - 2)
    verdict = world.verify()
    assert {"digest", "last_seqs"} <= kinds(verdict)
    assert verdict.findings[0].where == world.versions[1].version


def test_a_cut_beyond_the_log(world: World) -> None:
    cut = world.logs["rewards", 0][-1].offset + 100
    with_version(world, -1, cut=cut)
    world.live = world.live._replace(record=world.versions[-1], cut=cut)
    assert "cut" in kinds(world.verify())


def test_wrong_figures_of_a_version(world: World) -> None:
    with_version(world, 2, examples=world.versions[2].examples + 1)
    assert kinds(world.verify()) == {"examples"}


def test_wrong_seqs_of_a_version(world: World) -> None:
    with_version(world, 2, last_seqs={"front/0": 1})
    assert kinds(world.verify()) == {"last_seqs"}


def test_a_version_that_is_missing(world: World) -> None:
    del world.versions[2]
    verdict = world.verify()
    assert "versions" in kinds(verdict)
    assert not verdict.identical


def test_two_versions_of_one_number(world: World) -> None:
    other = msgspec.structs.replace(world.versions[1], digest="0" * 64)
    world.versions.insert(2, other)
    assert "versions" in kinds(world.verify())


def test_a_version_may_stand_there_twice(world: World) -> None:
    world.versions.insert(2, world.versions[1])
    assert world.verify().ok


def test_a_redis_that_has_forgotten_a_version(world: World) -> None:
    former = world.versions[-2]
    world.live = Live(former, world.models[-2], former.cut, former.last_seqs)
    verdict = world.verify()
    assert kinds(verdict) == {"live"}
    assert "forgotten" in verdict.findings[0].message


def test_a_version_published_meanwhile_is_left_out(world: World) -> None:
    former = world.versions[-2]
    world.live = Live(former, world.models[-2], former.cut, former.last_seqs)
    # The identity of the log takes the first offset.
    verdict = world.verify(versions_end=len(world.versions))
    assert verdict.ok
    assert verdict.versions == len(world.versions) - 1


def test_the_live_version_need_not_stand_in_versions_yet(world: World) -> None:
    live = world.versions.pop()
    verdict = world.verify()
    assert verdict.ok
    assert verdict.live_version == live.version


def test_other_arguments_under_the_same_name(world: World) -> None:
    assert kinds(
        world.verify(identity=PolicyIdentity("vw", "--cb_explore_adf --epsilon 0.2", "front", ("front",)))
    ) == {"arguments"}


def test_a_position_beyond_what_was_learned(world: World) -> None:
    end = world.logs["rewards", 0][-1].offset + 1
    assert world.verify().waiting > 0
    seqs = {str(each.shard): each.outcome_seq for _, each in world.outcomes() if each.policy == "front"}
    world.live = world.live._replace(cut=end, last_seqs=seqs)
    assert kinds(world.verify()) == {"position"}


def test_a_position_may_move_over_what_is_not_learned(world: World) -> None:
    log = world.logs["rewards", 0]
    shard, seqs = 0, dict(world.live.last_seqs or {})
    world.publish(1)
    seqs = dict(world.live.last_seqs or {})
    _, outcome = front(world)
    skipped = changed(outcome, outcome_seq=seqs[f"front/{shard}"] + 1, shard=shard, learn=False)
    world.append_outcomes(world.watermark_ms + 1000, [skipped])
    seqs[f"front/{shard}"] += 1
    world.live = world.live._replace(cut=log[-1].offset + 1, last_seqs=seqs)
    verdict = world.verify()
    assert "position" not in kinds(verdict)
    assert verdict.identical


def test_wrong_seqs_of_the_position(world: World) -> None:
    world.live = world.live._replace(last_seqs={"front/0": 1, "front/1": 1})
    assert kinds(world.verify()) == {"position"}


def test_uniform_learns_nothing_and_moves_its_position(world: World) -> None:
    world.kind, world.arguments = "uniform", ""
    world.versions, world.models = [], []
    seqs: dict[str, int] = {}
    for _, outcome in world.outcomes():
        if outcome.policy == "front":
            seqs[f"front/{outcome.shard}"] = outcome.outcome_seq
    end = world.logs["rewards", 0][-1].offset + 1
    world.live = Live(None, None, end, seqs)
    verdict = world.verify()
    assert verdict.ok
    assert verdict.identical
    assert verdict.live_version == "version 0"
    assert verdict.learned > 0
    assert verdict.waiting == 0


# The head of a log is gone.


def test_rewards_without_their_head(world: World) -> None:
    log = world.logs["rewards", 0]
    world.starts["rewards", 0] = log[12].offset
    first: dict[int, int] = {}
    for index, outcome in world.outcomes():
        if index >= 12 and outcome.policy == "front":
            first.setdefault(outcome.shard, outcome.outcome_seq)
    verdict = world.verify()
    assert kinds(verdict) == {"not_verifiable"}
    assert not verdict.ok
    assert not verdict.identical
    assert {finding.message.split(":")[0] for finding in verdict.findings} == {
        f"not verifiable before seq {seq}" for seq in first.values()
    }


def test_versions_without_their_head(world: World) -> None:
    world.starts["versions", 0] = 3
    verdict = world.verify()
    assert kinds(verdict) == {"not_verifiable"}
    assert [each.message for each in verdict.findings] == [
        "not verifiable before version 3: `versions` starts at offset 3"
    ]
    assert verdict.identical, "the weights follow from `rewards` all the same"
    del world.versions[3]
    assert "follows version 3" in next(each.message for each in world.verify().findings if each.kind == "versions")


def test_weights_that_what_was_removed_of_versions_may_have_made(world: World) -> None:
    """A freeze, or a step back: without its version, the log gives other weights."""
    world.versions = [msgspec.structs.replace(each, examples=each.examples - 2) for each in world.versions]
    world.live = world.live._replace(record=world.versions[-1])
    assert kinds(world.verify()) == {"examples"}
    world.starts["versions", 0] = 3
    verdict = world.verify()
    assert kinds(verdict) == {"not_verifiable"}
    assert "cannot be computed again" in verdict.findings[0].message


def test_a_policy_whose_versions_were_all_removed(world: World) -> None:
    """Redis has the latest one."""
    world.starts["versions", 0] = len(world.versions) + 1
    assert kinds(world.verify()) == {"not_verifiable"}


def test_a_policy_that_is_younger_than_the_head_of_versions(world: World) -> None:
    world.starts["versions", 0] = 1
    assert world.verify().ok


def test_a_policy_that_is_younger_than_the_head_of_rewards(world: World) -> None:
    log = world.logs["rewards", 0]
    world.logs["rewards", 0] = [message._replace(offset=message.offset + 100) for message in log]
    world.publish(5)
    world.starts["rewards", 0] = 100
    assert world.verify().ok


def test_decisions_without_their_head(world: World) -> None:
    world.starts["decisions", 1] = world.logs["decisions", 1][6].offset
    verdict = world.verify()
    assert kinds(verdict) == {"not_verifiable"}
    assert verdict.not_verifiable > 0
    assert "not verifiable before seq" in verdict.findings[0].message
    assert verdict.identical, "the weights follow from `rewards` alone"


def test_feedback_without_its_head(world: World) -> None:
    world.starts["clicks", 0] = world.logs["clicks", 0][5].offset
    verdict = world.verify()
    assert kinds(verdict) == {"not_verifiable"}
    assert verdict.missing == verdict.wrong == 0


# The rules, against the join's own core.

EVENT_IDS = [f"e{number}" for number in range(4)]


@st.composite
def small_worlds(draw: st.DrawFn) -> World:
    world = World(kind="uniform", arguments="")
    now = 1_000_000
    for number in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0, 1, 500, 2_000, 9_999, 10_000, 10_001, 70_000]))
        event_id = draw(st.sampled_from(EVENT_IDS))
        topic = draw(st.sampled_from(["decisions", "clicks", "clicks", "purchases"]))
        partition = draw(st.integers(0, 1))
        if topic == "decisions":
            rule = dict(decision("x")["rule"])
            rule["activate_on"] = draw(st.sampled_from([None, "clicks"]))
            streams = dict(rule["reward"]["streams"])
            streams["clicks"] = draw(
                st.sampled_from(
                    [{"weight": 0.1, "aggregate": how} for how in ("sum", "mean", "first", "last", "min", "max")]
                    + [{"value": True, "aggregate": how} for how in ("sum", "mean", "first", "last", "min", "max")]
                )
            )
            rule["reward"] = dict(rule["reward"], streams=streams)
            fields = {
                "rule": rule,
                "activate": draw(st.booleans()),
                "expires_at_ms": draw(st.sampled_from([None, now - 1, now])),
                "policy_version": draw(st.sampled_from(["0-00000000", "external"])),
            }
            world.append(topic, partition, now, decision(event_id, number, **fields))
        else:
            event: dict[str, Any] = {"event_id": event_id, "value": draw(st.sampled_from([0.1, 0.2, -3.0, 7.0]))}
            if draw(st.booleans()):
                event["id"] = draw(st.sampled_from(["a", "b"]))
            event["activate"] = draw(st.sampled_from([None, True]))
            world.append(topic, partition, now, *[event] * draw(st.integers(1, 2)))
    return world.run(now + draw(st.sampled_from([0, 5_000, 10_000, 80_000])), cut_each=10**9)


@given(small_worlds())
def test_the_rules_agree_with_those_of_the_join(world: World) -> None:
    world.live = Live(None, None)
    verdict = world.verify()
    assert verdict.ok, verdict.findings


def test_feedback_of_a_decision_is_not_that_of_the_next_one_under_its_event_id() -> None:
    """It is remembered for dedup_horizon_s: what came by then was late for the first and is not early for the next."""
    world = World(kind="uniform", arguments="")
    first_ms, bound_ms = 1_000_000, 1_000_000 + 60_000
    world.append("decisions", 0, first_ms, decision("again"))
    world.append("clicks", 0, bound_ms, {"event_id": "again", "id": "late"})
    world.append("clicks", 1, bound_ms + 1, {"event_id": "again", "id": "early"})
    world.append("decisions", 1, bound_ms + 2, decision("again"))
    world.run(bound_ms + 30_000, cut_each=10**9)
    world.live = Live(None, None)
    assert [len(outcome.feedback) for _, outcome in world.outcomes()] == [0, 1]
    verdict = world.verify()
    assert verdict.ok, verdict.findings
    assert verdict.decisions == verdict.outcomes == 2


@given(st.integers(0, 2**32))
# A seq of 0, which every reader would take for a repeat.
@example(606)
def test_one_changed_bit_of_rewards_is_found(seed: int) -> None:
    """Whatever is changed in an outcome is found, unless it changes nothing that has a meaning."""
    chance = random.Random(seed)
    world = World(kind="uniform", arguments="")
    for number in range(6):
        world.append("decisions", 0, 1_000_000 + number, decision(f"e{number}", number))
        world.append("clicks", 0, 1_000_100 + number, {"event_id": f"e{number}", "id": "c"})
    world.run(1_100_000, cut_each=10**9)
    world.live = Live(None, None)
    log = world.logs["rewards", 0]
    index = chance.randrange(len(log))
    value = bytearray(log[index].value or b"")
    at = chance.randrange(len(value))
    value[at] ^= 1 << chance.randrange(7)
    log[index] = log[index]._replace(value=bytes(value))
    verdict = world.verify()
    if verdict.ok:
        assert _meaning(bytes(value)) == _meaning(_sound(world, index)), bytes(value)


def _sound(world: World, index: int) -> bytes:
    fresh = World(kind="uniform", arguments="")
    for (topic, partition), log in world.logs.items():
        if topic != "rewards":
            fresh.logs[topic, partition] = list(log)
    fresh.run(1_100_000, cut_each=10**9)
    return fresh.logs["rewards", 0][index].value or b""


def _meaning(value: bytes) -> list[Outcome]:
    # An unknown field that was renamed, or a default that was spelled out, has no meaning.
    return msgspec.json.decode(value, type=list[Outcome])


def test_version_names_are_checked(world: World) -> None:
    with_version(world, 0, version=version_name(1, "f" * 64))
    assert "versions" in kinds(world.verify())


def test_only_the_first_findings_of_a_kind_are_shown(world: World) -> None:
    for number in range(len(world.versions)):
        with_version(world, number, examples=0)
    world.live = replace_record(world.live, world.versions[-1])
    verdict = world.verify()
    assert verdict.found == {"examples": len(world.versions)}
    assert len(verdict.findings) == min(10, len(world.versions))


def replace_record(live: Live, record: PolicyVersion) -> Live:
    return live._replace(record=record)


def test_what_the_join_could_not_use_is_counted(world: World) -> None:
    log = world.logs["clicks", 0]
    log.append(log[-1]._replace(offset=log[-1].offset + 2, value=b"not json"))
    log.append(log[-1]._replace(offset=log[-1].offset + 2, value=None))
    verdict = world.verify()
    assert verdict.ok
    assert verdict.unusable == 2


def made_anew(world: World, topic: str, from_ms: int) -> None:
    """Delete a topic and create it again at a log time: what stands there begins at offset 0."""
    for name, log in world.logs.items():
        if name[0] == topic:
            kept = [message for message in log if message.time_ms >= from_ms]
            world.logs[name] = [message._replace(offset=offset) for offset, message in enumerate(kept)]


@pytest.mark.parametrize("topic", ["clicks", "decisions"])
def test_a_topic_that_was_made_anew_proves_nothing_of_before(world: World, topic: str) -> None:
    made_anew(world, topic, 10**9)
    verdict = world.verify()
    assert kinds(verdict) == {"not_verifiable"}
    assert verdict.wrong == verdict.missing == 0
    citing = [
        outcome
        for _, outcome in world.outcomes()
        if outcome.policy == "front" and (topic == "decisions" or any(e.stream == topic for e in outcome.feedback))
    ]
    assert verdict.not_verifiable == len({outcome.event_id for outcome in citing})
    assert "made anew" in verdict.findings[0].message


def cite_anew(world: World, topic: str) -> None:
    """Let outcomes cite the places that the messages of a new topic have."""
    offsets = {
        (partition, message.time_ms): message.offset
        for (name, partition), log in world.logs.items()
        if name == topic
        for message in log
    }

    def cited(event: CountedFeedback) -> CountedFeedback:
        at = offsets.get((event.partition, event.time_ms)) if event.stream == topic else None
        return event if at is None else msgspec.structs.replace(event, offset=at)

    for index, message in enumerate(world.logs["rewards", 0]):
        outcomes = msgspec.json.decode(message.value or b"", type=list[Outcome])
        world.rewrite(index, [changed(each, feedback=list(map(cited, each.feedback))) for each in outcomes])


def test_what_is_wrong_after_a_topic_was_made_anew_is_found(world: World) -> None:
    """The old feedback cannot be verified; what is in the new topic can, and so can what was invented."""
    outcomes = world.outcomes()
    since_ms = outcomes[len(outcomes) // 2][1].closed_ms
    made_anew(world, "clicks", since_ms)
    cite_anew(world, "clicks")
    verdict = world.verify()
    assert kinds(verdict) == {"not_verifiable"}
    assert verdict.wrong == 0
    index, outcome = front(
        world, lambda outcome: min((event.time_ms for event in outcome.feedback), default=0) > since_ms
    )
    invented = msgspec.structs.replace(outcome.feedback[0], offset=10**6)
    world.rewrite(index, [changed(outcome, feedback=[invented, *outcome.feedback[1:]])])
    assert world.verify().wrong == 1
