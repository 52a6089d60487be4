"""The mutants of ``make mutate``: each switches one mechanism off by a patch, and names the tests that must fail.

A mechanism that lives in two places, the store in memory and the script in Redis, has a mutant for each. Patches
are found by their text and not by line numbers; one whose text is not there exactly once no longer applies.
"""

from collections.abc import Iterator
from dataclasses import dataclass

ISSUED = (
    "the compare-and-set",
    "the duplicate check by id",
    "the memory of closed ids",
    "the offset check",
    "the watermark",
    "the grace",
    "the order of closing",
    "the conflict rule",
    "the acknowledgement after the publish",
    "the repair of versions",
    "trimming by seq",
    "the request's time to live",
)
"""The mechanisms that must be among the mutants, whatever else is."""

STORE = "rewards/memory_store.py"
SCRIPT = "stream/redis/join.lua"
IN_MEMORY = "tests/laws/test_store.py::TestMemoryStore"
IN_REDIS = "tests/real/test_redis_store.py::TestRedisStore"
OUTCOME = "tests/rewards/test_outcome.py"
INTAKE = "tests/rewards/test_join_worker.py"
PUBLISH = "tests/stream/test_publish.py"
PUBLISH_IN_REDIS = "tests/real/test_learn_store.py"
LEARNER = "tests/policies/test_learner.py"
CONTROLS = "tests/stream/test_controls.py"
REPLAYED_CONTROLS = "tests/replay/proof/test_rebuild_controls.py"
PROPENSITY = "tests/laws/test_propensity.py"
LOADER = "tests/stream/test_model_loader.py"
REQUESTS = "tests/laws/test_requests.py"
ARCHIVED = "tests/archive/test_writer.py"
ACKNOWLEDGED = "tests/real/test_acknowledgement.py"
EVALUATING = "tests/bowerbird/test_evaluating.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mechanism, switched off in one place.

    Attributes
    ----------
    mechanism
        What is switched off, in the words of docs/laws.md.
    file
        The file that is patched, from the top of the tree.
    before, after
        The patch: the file holds ``before`` exactly once.
    tests
        Node ids of the tests that must fail, every one of them; without brackets: a test with all its parameters, of
        which one at least must fail.
    """

    mechanism: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called in the report."""
        return f"{self.mechanism} ({self.file})"

    def apply(self, text: str) -> str:
        """Return the file's text with the mechanism switched off.

        Raises
        ------
        LookupError
            The patch does not apply.
        """
        count = text.count(self.before)
        if count != 1:
            raise LookupError(f"{self.name}: the text to replace is in the file {count} times, expected once")
        return text.replace(self.before, self.after)


def _in_both(mechanism: str, memory: tuple[str, str], script: tuple[str, str], *tests: str) -> Iterator[Mutant]:
    """Yield the mutants of a mechanism of the join's store: one suite of laws kills it in memory and in Redis."""
    for file, (before, after), suite in ((STORE, memory, IN_MEMORY), (SCRIPT, script, IN_REDIS)):
        yield Mutant(mechanism, file, before, after, tuple(f"{suite}::{test}" for test in tests))


def _joining() -> Iterator[Mutant]:
    yield from _in_both(
        "the offset check: what was applied is skipped",
        ("if item.position.offset < self.stored[name]:", "if False:"),
        ("local fresh = offset >= claim.stored", "local fresh = true"),
        "test_offsets_what_was_applied_is_skipped_even_when_its_event_id_is_forgotten",
    )
    yield from _in_both(
        "the offset check: a state that lies behind is refused",
        (
            "        if (stored is None and not claim.fresh) or (stored is not None and stored < claim.start):\n",
            "        if False:\n",
        ),
        (
            "if (not stored and not claim.fresh) or (stored and tonumber(stored) < tonumber(claim.start)) then",
            "if false then",
        ),
        "test_offsets_a_state_that_lies_behind_the_worker_is_refused_and_nothing_is_applied",
        "test_offsets_a_state_that_knows_nothing_takes_only_who_began_at_the_start",
    )
    yield from _in_both(
        "the offset check: stored offsets never go back",
        ("state.offsets[name] = max(self.stored[name], claim.end)", "state.offsets[name] = claim.end"),
        ("if tonumber(claim.stop) > claim.stored or", "if true or"),
        "test_offsets_never_go_back",
    )
    yield from _in_both(
        "the identity of the log",
        ('if state.log not in ("", log):', "if False:"),
        ("if known_log and known_log ~= log then", "if false then"),
        "test_the_state_of_another_log_is_refused",
    )
    yield from _in_both(
        "the memory of closed ids",
        ("            state.closed[first.event_id] = first.dedup_until_ms\n", ""),
        ("  call('ZADD', CLOSED, whole(header[6]), event_id)\n", ""),
        "test_closed_ids_are_remembered_a_copy_is_a_repeat_and_feedback_is_late",
    )
    yield from _in_both(
        "the watermark (the wall clock instead)",
        (
            "now_ms, held_by = shard_watermark(state.input_watermarks)",
            'now_ms, held_by = __import__("time").time_ns() // 1_000_000, "*"',
        ),
        (
            "if not listed then watermark, held_by = 0, '*' end",
            "watermark, held_by = tonumber(call('TIME')[1]) * 1000, '*'",
        ),
        "test_watermark_a_window_closes_strictly_after_its_deadline",
        "test_watermark_waits_for_every_partition_and_names_it",
    )
    yield from _in_both(
        "the watermark: a partition that was never written counts as well",
        ("state.input_watermarks.setdefault(partition_name(topic, partition), 0)", "pass"),
        ("for _, name in ipairs(inputs) do call('HSETNX', WATERMARKS, name, '0') end", ""),
        "test_watermark_waits_for_every_partition_and_names_it",
        "test_watermark_waits_for_an_added_partition",
    )
    yield from _in_both(
        "the order of closing",
        ("            key=lambda each: each[:2],\n", "            key=lambda each: each[2].first.position,\n"),
        (
            "for i = 1, #due, 2 do\n  if written",
            "for i = #due - 1, 1, -2 do\n  if written",
        ),
        "test_order_of_closing_is_deadline_then_event_id_by_its_bytes",
    )
    yield from _in_both(
        "the first by position is the decision",
        ("elif item.position < entry.first.position:", "elif False:"),
        ("if old and old[1] < position then", "if old then"),
        "test_conflict_the_first_by_place_decides_and_the_first_that_differs_is_its_rival",
    )
    yield from _in_both(
        "the conflict rule: the first rival is kept",
        ("entry.rival_ms = min(entry.rival_ms or item.position.time_ms, item.position.time_ms)", "pass"),
        ("      old[8] = time_of(position)\n", ""),
        "test_conflict_the_first_by_place_decides_and_the_first_that_differs_is_its_rival",
    )
    yield Mutant(
        "the conflict rule",
        "rewards/outcome.py",
        "    if window.rival_ms is not None and window.rival_ms <= window.deadline_ms:",
        "    if False:",
        (
            f"{OUTCOME}::test_conflict_a_rival_counts_up_to_the_final_deadline",
            f"{OUTCOME}::test_conflict_the_final_deadline_is_the_lowered_one",
        ),
    )
    yield Mutant(
        "the duplicate check by id",
        "rewards/rules.py",
        "seen.setdefault((event.stream, event.id), event)",
        "seen.setdefault((event.stream, str(id(event))), event)",
        (
            f"{OUTCOME}::test_duplicate_check_of_one_stream_and_id_the_first_counts",
            "tests/rewards/test_rules.py::test_of_one_stream_and_id_the_first_counts",
        ),
    )
    yield Mutant(
        "the grace",
        "rewards/watermark.py",
        "return max(0, time_ms - grace_ms)",
        "return time_ms",
        (
            f"{INTAKE}::test_grace_a_record_of_a_slower_clock_still_counts",
            f"{INTAKE}::test_a_work_says_from_where_to_where_and_keeps_the_grace",
        ),
    )
    yield Mutant(
        "an idle tick is claimed only where nothing fetched waits",
        "rewards/join_worker.py",
        "if position >= ends[name] and reading.next >= min(handed, ends[name]):",
        "if True:",
        (f"{INTAKE}::test_an_idle_tick_is_claimed_only_where_nothing_fetched_waits",),
    )
    yield Mutant(
        "an array's offset moves with its last part",
        "rewards/join_worker.py",
        "claims = done if number == len(slices) else begin",
        "claims = done",
        (f"{INTAKE}::test_an_array_that_needs_several_calls_moves_the_offset_with_the_last",),
    )
    yield Mutant(
        "what cannot be used becomes a dead letter",
        "rewards/join_items.py",
        "rejected.append(Rejected(message, index, error, body))",
        "pass",
        (f"{INTAKE}::test_of_an_array_only_what_is_bad_is_rejected_with_its_index",),
    )
    yield from _in_both(
        "the limit of one decision's feedback",
        ("within[self.transaction.feedback_limit :]", "within[len(within) :]"),
        ("if beyond <= 0 then return true end", "if true then return true end"),
        "test_of_too_much_feedback_the_first_by_place_stays",
    )
    yield Mutant(
        "a restarted Redis is compared with the log",
        SCRIPT,
        "~= checked then",
        "~= checked and checked == '' then",
        ("tests/real/test_restarted_redis.py::test_a_restarted_redis_is_compared_before_it_is_written",),
    )
    yield Mutant(
        "a Redis whose seq lies behind rewards is refused",
        "stream/roles/forgotten_state.py",
        "if given < tail:",
        "if False:",
        ("tests/real/test_restarted_redis.py::test_a_redis_whose_seq_lies_behind_rewards_is_refused",),
    )
    yield Mutant(
        "the acknowledgement of an input after every shard has stored it",
        "stream/roles/join_inputs.py",
        "            self._events[(*name, message.offset)] = event\n",
        "            event.ack()\n",
        (f"{ACKNOWLEDGED}::test_the_join_acknowledges_what_every_shard_has_stored",),
    )
    yield Mutant(
        "trimming by seq",
        STORE,
        "[entry for entry in entries.get(outbox, []) if entry.seq > seq]",
        "entries.get(outbox, [])[seq:]",
        (f"{IN_MEMORY}::test_trim_is_by_seq_and_never_by_count",),
    )
    yield Mutant(
        "trimming by seq",
        "stream/redis/store.py",
        'zremrangebyscore(key, "-inf", seq)',
        "zremrangebyrank(key, 0, seq - 1)",
        (f"{IN_REDIS}::test_trim_is_by_seq_and_never_by_count",),
    )
    yield Mutant(
        "trimming after the acknowledgement",
        "stream/roles/outbox.py",
        "            await self._producer.send_and_wait(\n",
        "            await self._store.trim(shard, placement, outcomes[-1].outcome_seq)\n"
        "            await self._producer.send_and_wait(\n",
        ("tests/real/test_outbox.py::test_what_kafka_has_not_acknowledged_stays_in_the_outbox",),
    )


def _learning() -> Iterator[Mutant]:
    yield Mutant(
        "a stream that is not there is refused at once",
        "clients/python/bowerbird_client/streams.py",
        "                return\n            check_stream(stream, self._known)\n",
        "                return\n",
        ("tests/clients/test_client.py::test_a_stream_that_is_not_there_is_refused_at_once",),
    )
    yield Mutant(
        "a client that closes sends what has got an id",
        "clients/python/bowerbird_client/asynchronous.py",
        "                await self._telling.over()\n                await self._outgoing.flush()\n",
        "                await self._outgoing.flush()\n",
        ("tests/clients/test_client.py::test_closing_waits_for_feedback_that_is_on_its_way",),
    )
    yield Mutant(
        "an array that its topic refuses goes in parts",
        "clients/python/bowerbird_client/outgoing.py",
        'error.code == "too_large" and len(batch) > 1',
        "False",
        ("tests/clients/test_client.py::test_an_array_that_its_topic_refuses_goes_in_parts_that_fit",),
    )
    yield Mutant(
        "a client asks a broker that is away once for all",
        "clients/python/bowerbird_client/streams.py",
        "            self._away_until_s = asyncio.get_running_loop().time() + AWAY_S\n",
        "",
        ("tests/clients/test_client.py::test_while_the_broker_is_away_it_is_asked_once_and_feedback_waits",),
    )
    yield Mutant(
        "a client's method that takes a record stays a coroutine function",
        "clients/python/bowerbird_client/options.py",
        "call_async if inspect.iscoroutinefunction(method) else call",
        "call",
        ("tests/clients/test_client.py::test_people_and_frameworks_see_what_a_method_takes",),
    )
    yield Mutant(
        "fields that nothing reads are named",
        "policies/decide.py",
        "if warned := _warnings(opened.fields, opened.question.actions):",
        "if warned := _warnings({}, ()):",
        ("tests/policies/test_decide.py::test_fields_that_nothing_reads_are_named",),
    )
    yield Mutant(
        "what is worth nothing and comes late is no warning",
        "bowerbird/status/alarms.py",
        "if what not in harmless",
        "if what",
        ("tests/bowerbird/test_alarms.py::test_what_is_worth_nothing_and_comes_late_is_no_warning",),
    )
    yield Mutant(
        "probabilities that stand while rewards differ are seen",
        "policies/learnability.py",
        "> CLEARLY * error > 0",
        "> CLEARLY * error > 1e9",
        ("tests/bowerbird/test_learnability.py::test_probabilities_that_stand_while_rewards_differ",),
    )
    yield Mutant(
        "the compare-and-set",
        "stream/redis/publish.lua",
        "if (redis.call('HGET', position, 'token') or '') ~= expected then",
        "if false then",
        (
            f"{PUBLISH_IN_REDIS}::test_of_two_learners_one_publishes_and_the_other_goes_on_from_it",
            f"{PUBLISH_IN_REDIS}::test_a_position_is_compared_too",
        ),
    )
    yield Mutant(
        "the compare-and-set: a position counts, too",
        "stream/redis/policy_store.py",
        'return f"{position.version} {position.cut}" if position is not None else ""',
        'return f"{position.version}" if position is not None and position.number else ""',
        (f"{PUBLISH_IN_REDIS}::test_a_position_is_compared_too",),
    )
    yield Mutant(
        "what was learned since the last publish is kept",
        "policies/learner.py",
        "        kept = self._kept.copy()\n",
        "        kept: list[_Kept] = []\n",
        (
            f"{PUBLISH}::test_of_two_learners_one_publishes_and_the_other_goes_on_from_it",
            f"{PUBLISH}::test_a_call_that_fails_is_no_loss",
        ),
    )
    yield Mutant(
        "what a learner keeps is bounded",
        "policies/learn_worker.py",
        "full = loaded.learner.kept_outcomes >= KEPT_OUTCOMES",
        "full = False",
        ("tests/policies/test_learn_worker.py::test_what_is_kept_is_bounded_whatever_the_schedule_says",),
    )
    yield Mutant(
        "the acknowledgement after the publish",
        "policies/unacknowledged.py",
        "if not all(saved[name].covers(own) for name, own in seqs.items()):",
        "if False:",
        (f"{PUBLISH}::test_what_is_acknowledged_is_saved",),
    )
    yield Mutant(
        "the acknowledgement after the publish",
        "stream/roles/learn.py",
        "async for event in cast(Any, stream).noack().events():",
        "async for event in cast(Any, stream).events():",
        (f"{ACKNOWLEDGED}::test_the_learner_acknowledges_what_is_published",),
    )
    yield Mutant(
        "the repair of versions",
        "policies/publisher.py",
        "            await self._versions.append(self.name, saved.record)\n\n",
        "            return saved\n\n",
        (
            f"{PUBLISH}::test_whoever_goes_on_writes_the_record_that_was_not_written",
            f"{PUBLISH}::test_whoever_loses_a_race_writes_the_record_that_was_not_written",
        ),
    )
    yield Mutant(
        "who only looks writes no record",
        "bowerbird/recovery/rebuild.py",
        "load(repair=False)",
        "load()",
        ("tests/real/test_remedies.py::test_a_redis_of_another_log_is_discarded_by_a_command",),
    )
    yield Mutant(
        "a Redis that has forgotten a version is refused",
        "policies/publisher.py",
        "    if seen.newest > number:\n",
        "    if False:\n",
        (
            f"{PUBLISH}::test_a_redis_that_forgot_a_version_is_found_out_at_the_start",
            f"{PUBLISH}::test_a_redis_that_forgot_everything_is_found_out_at_the_start",
        ),
    )
    yield Mutant(
        "a learner with nothing to learn misses a version that Redis has forgotten",
        "stream/roles/learn.py",
        "                        await policy.compare_saved()\n",
        "                        pass\n",
        ("tests/real/test_learn.py::test_a_redis_that_forgot_is_not_continued",),
    )
    yield Mutant(
        "two records of one number are refused",
        "policies/publisher.py",
        "            self.differing = number\n",
        "            pass\n",
        (f"{PUBLISH}::test_two_records_of_one_number_that_differ_are_found_out_after_each_own_record",),
    )
    yield Mutant(
        "the published bytes are loaded after each publish",
        "policies/learner.py",
        "        self.policy.close()\n"
        "        self.policy = self._loaded(model)\n"
        "        self.model_bytes = len(model)\n",
        "        self.model_bytes = len(model)\n",
        (f"{PUBLISH}::test_after_each_publish_the_bytes_are_loaded",),
    )
    yield Mutant(
        "repeats are dropped by seq",
        "policies/learner.py",
        "            if outcome.outcome_seq <= last.get(outbox, 0):\n",
        "            if False:\n",
        (f"{LEARNER}::test_the_same_cuts_give_the_same_bytes",),
    )
    yield Mutant(
        "a jump of the seq is a loss",
        "policies/learner.py",
        "if outcome.outcome_seq != last + 1 and not (self.log_start > 0 and outbox not in seqs):",
        "if False:",
        (f"{LEARNER}::test_a_jump_is_a_loss_and_nothing_of_its_message_is_taken",),
    )
    yield Mutant(
        "what cannot be learned is skipped",
        "policies/learner.py",
        "            except BadInput as error:\n                taken.refused",
        "            except ZeroDivisionError as error:\n                taken.refused",
        (f"{LEARNER}::test_what_cannot_be_learned_is_skipped_and_counted",),
    )
    far = "a seq that no join has given is passed over"
    yield Mutant(
        far,
        "policies/learner.py",
        "if gap_too_large(last.get(outbox, 0), outcome.outcome_seq):",
        "if False:",
        ("tests/policies/test_learner.py::test_a_seq_that_no_join_has_given_is_passed_over",),
    )
    yield Mutant(
        far,
        "replay/proof/rebuild.py",
        "if outcome.outcome_seq <= last or gap_too_large(last, outcome.outcome_seq):",
        "if outcome.outcome_seq <= last:",
        ("tests/replay/proof/test_rebuild.py::test_other_policies_and_corrections_are_left_out",),
    )
    yield Mutant(
        far,
        "rewards/recovery.py",
        "if gap_too_large(last.outcome_seq if last is not None else 0, head.outcome_seq):",
        "if False:",
        ("tests/rewards/test_recovery.py::test_repeats_and_what_is_no_outcome_do_not_move_the_frontier",),
    )
    yield Mutant(
        "an interval for independent rows refuses units that return",
        "replay/evaluation/intervals/catalogue.py",
        "if method.independent and units_return:",
        "if False:",
        (
            "tests/replay/evaluation/intervals/test_catalogue.py::"
            "test_rows_of_units_that_return_are_not_taken_as_independent",
        ),
    )
    yield Mutant(
        "each place of a list has its own reward",
        "rewards/rules.py",
        "if (event.action or shown[0]) == action]",
        "if True]",
        ("tests/bowerbird/test_lists.py::test_each_place_is_rewarded_by_the_events_that_are_about_it",),
    )
    yield Mutant(
        "a place is drawn from what is left",
        "policies/decide.py",
        "left = pmf_of(policy.predict(question, picks))",
        "left = pmf_of(policy.predict(question))",
        ("tests/bowerbird/test_lists.py::test_a_list_has_different_actions_each_with_its_own_propensity",),
    )
    yield Mutant(
        "a logged list is checked where it is joined",
        "records/decision.py",
        "if times[action] != 1 or action in shown:",
        "if False:",
        ("tests/bowerbird/test_lists.py::test_a_logged_list_that_is_none_is_refused",),
    )
    of_lists = "tests/replay/evaluation/logs/test_lists.py::"
    yield Mutant(
        "a list is not judged as a decision of one",
        "replay/evaluation/logs/lists.py",
        'np.asarray(rows.numbers("places") > 1)',
        'np.asarray(rows.numbers("places") > 1_000_000)',
        (f"{of_lists}test_a_list_is_one_row",),
    )
    yield Mutant(
        "the weight of a list is that of all of its places",
        "replay/evaluation/logs/predicted.py",
        "        probabilities.append(probabilities[-1] * pmf[picks[place].action])\n",
        "        probabilities.append(probabilities[-1])\n",
        (
            f"{of_lists}test_the_mean_over_all_whole_lists_is_what_the_target_earns",
            f"{of_lists}test_values_are_those_of_the_estimators_of_slates",
        ),
    )
    yield Mutant(
        "the reward of a place is weighed by what was shown down to there",
        "replay/evaluation/logs/lists.py",
        "np.add.reduceat(weights * rewards, starts)",
        "np.add.reduceat(weights[begins[1:] - 1].repeat(counts) * rewards, starts)",
        (
            f"{of_lists}test_values_are_those_of_the_estimators_of_slates",
            f"{of_lists}test_the_mean_over_all_lists_by_place_is_what_the_target_earns",
        ),
    )
    yield Mutant(
        "what is no list is refused",
        "replay/evaluation/logs/outcomes.py",
        '            rows = leave_out(rows, left_out, "refused", refused)\n',
        "",
        (f"{of_lists}test_what_is_no_list_is_refused_whoever_is_judged",),
    )
    yield Mutant(
        "a number that is far ahead is no version",
        "records/versions.py",
        "if not gap_too_large(last, version.number):",
        "if True:",
        ("tests/stream/test_controls.py::test_a_number_after_which_none_is_left_is_no_version",),
    )
    yield Mutant(
        "a replaced outcome is distinguished from a repeat",
        "policies/learner.py",
        "        if seq != repeat.outcome_seq or event_id == repeat.event_id:\n",
        "        if True:\n",
        (f"{LEARNER}::test_an_outcome_in_the_place_of_another_is_told_from_a_repeat",),
    )
    yield Mutant(
        "not everything that closed is learned",
        "policies/learner.py",
        "            if not outcome.learn or self.saved.held:\n",
        "            if self.saved.held:\n",
        (f"{PUBLISH}::test_a_version_says_what_it_has_learned",),
    )
    yield Mutant(
        "nothing is learned under a control",
        "policies/learner.py",
        "            if not outcome.learn or self.saved.held:\n",
        "            if not outcome.learn:\n",
        (f"{CONTROLS}::test_under_a_control_the_position_moves_and_nothing_is_learned",),
    )
    yield Mutant(
        "what came under a control is passed over at its end",
        "stream/controls.py",
        "                await pass_over(learner)\n",
        "                pass\n",
        (f"{CONTROLS}::test_what_came_while_frozen_is_not_learned_later_wherever_the_learner_was",),
    )
    yield Mutant(
        "a replay goes through controls",
        "replay/proof/rebuild.py",
        "        self._holding = not version.shape.learn\n",
        "",
        (f"{REPLAYED_CONTROLS}::test_under_a_control_nothing_is_learned_and_verify_goes_through_it",),
    )
    yield Mutant(
        "the wrappers of a version decide",
        "policies/assemble.py",
        "    for wrapper in shape.wrappers:\n",
        "    for wrapper in ():\n",
        ("tests/policies/test_assemble.py::test_uniform_decides_also_where_the_weights_cannot_be_loaded",),
    )
    yield Mutant(
        "a position keeps the shape of its version",
        "policies/learner.py",
        "shape = dict(self.last_seqs), self.saved.shape\n",
        "shape = dict(self.last_seqs), type(self.saved.shape)()\n",
        (f"{CONTROLS}::test_under_a_control_the_position_moves_and_nothing_is_learned",),
    )
    yield Mutant(
        "a replay goes back where a version was rebuilt",
        "replay/proof/rebuild.py",
        "            model, examples = self._kept[version.rebuilt_to]\n",
        "            pass\n",
        (f"{REPLAYED_CONTROLS}::test_a_rebuild_takes_the_weights_back_to_an_offset_between_two_cuts",),
    )


def _deciding() -> Iterator[Mutant]:
    yield Mutant(
        "the request's time to live",
        "policies/decide.py",
        "    if now_ms > expires_at_ms:\n",
        "    if False:\n",
        (f"{REQUESTS}::test_law_3_a_request_that_nobody_waits_for_any_more_gets_no_decision",),
    )
    yield Mutant(
        "the request's time to live: it expires while its batch is read",
        "policies/decide.py",
        "        _check_age(now_ms, opened.expires_at_ms)\n",
        "",
        (
            "tests/policies/test_decide.py"
            "::test_law_3_a_request_that_expires_between_opening_and_deciding_is_not_decided",
        ),
    )
    yield Mutant(
        "a batch is read once, before any of it is decided",
        "stream/roles/decide.py",
        "        await requests.read(batch)\n        for request in batch:\n",
        "        for request in batch:\n            await requests.read([request])\n",
        ("tests/stream/test_deciding.py::test_a_batch_is_read_once_and_decided_by_the_versions_that_are_in_use_then",),
    )
    yield Mutant(
        "the request's time to live: a stalled append is not answered",
        "stream/roles/deciding.py",
        " or answer.timestamp > self.expires_at_ms:",
        ":",
        ("tests/stream/test_deciding.py::test_law_3_a_decision_whose_log_time_lies_beyond_its_expiry_is_not_replied",),
    )
    yield Mutant(
        "the request's time to live: a stalled append is not learned",
        "rewards/outcome.py",
        "    if head.expires_at_ms is not None and window.position.time_ms > head.expires_at_ms:\n",
        "    if False:\n",
        (f"{OUTCOME}::test_why_it_closed_and_whether_it_is_learned",),
    )
    yield Mutant(
        "the reply after the acknowledgement of the decision",
        "stream/roles/decide.py",
        "        answers = await self._appender.append(messages)\n",
        "        for request, _ in appended:\n"
        "            await self._reply(request)\n"
        "        answers = await self._appender.append(messages)\n",
        (f"{ACKNOWLEDGED}::test_decide_answers_and_commits_what_is_appended",),
    )
    yield Mutant(
        "the commit of a request after its decision",
        "stream/roles/decide_progress.py",
        "        while self._batches and self._batches[0][1].done():\n"
        "            next_offset, task = self._batches.popleft()\n"
        "            # Raises what the task raised: then nothing may be committed, and the loop starts again.\n"
        "            task.result()\n",
        "        while self._batches:\n            next_offset, task = self._batches.popleft()\n",
        (f"{ACKNOWLEDGED}::test_decide_answers_and_commits_what_is_appended",),
    )
    yield Mutant(
        "the limit of pending decisions",
        "policies/decide.py",
        "        if rules.overloaded(request.placement):\n",
        "        if False:\n",
        (f"{REQUESTS}::test_law_7_a_policy_with_too_many_pending_decisions_refuses",),
    )
    yield Mutant(
        "the propensity is that of the action drawn",
        "policies/decide.py",
        '"propensity": picks[0].propensity,',
        '"propensity": max(pmf),',
        (f"{PROPENSITY}::test_law_6_the_logged_propensity_is_that_of_the_action_drawn",),
    )
    yield Mutant(
        "the logged pmf is the one that was drawn from",
        "policies/decide.py",
        '"pmf": pmf,',
        '"pmf": sorted(pmf),',
        (f"{PROPENSITY}::test_law_6_the_logged_pmf_is_the_one_that_was_drawn_from",),
    )
    yield Mutant(
        "what cannot be decided becomes a dead letter",
        "stream/roles/deciding.py",
        "                request.letters.append(_letter(request.record, index, result.problem, raw))\n",
        "                pass\n",
        (f"{REQUESTS}::test_law_8_a_bad_item_takes_no_other_item_of_its_array_with_it",),
    )
    yield Mutant(
        "an error that nobody foresaw is its own item's",
        "stream/roles/deciding.py",
        "        except Exception:\n            self._unexpected(record)\n            return opened.refused(",
        "        except ZeroDivisionError:\n            self._unexpected(record)\n            return opened.refused(",
        (f"{REQUESTS}::test_law_8_a_bad_item_takes_no_other_item_of_its_array_with_it",),
    )
    yield Mutant(
        "the draw follows the pmf",
        "policies/draw.py",
        "part = bisect_right(list(accumulate(masses)), fraction)",
        "part = int(fraction * len(masses))",
        ("tests/laws/test_draws.py::test_law_6_the_frequencies_of_the_draws_match_the_pmf",),
    )
    of_files = "tests/replay/vw_files/test_learned.py::"
    yield Mutant(
        "an example that ends Vowpal Wabbit is named",
        "replay/vw_files/child.py",
        "            send(place)\n",
        "",
        (f"{of_files}test_an_example_that_ends_the_process_is_named",),
    )
    yield Mutant(
        "a file that is read is not written",
        "replay/vw_files/learned.py",
        "if written.exists() and any(map(written.samefile, read)):",
        "if False:",
        (f"{of_files}test_a_file_that_cannot_be_written_is_named_before_anything_is_learned",),
    )
    yield Mutant(
        "a number follows its density",
        "policies/draw.py",
        "value = below + (fraction - fsum(masses[:part])) / density.heights[part]",
        "value = below + fraction * (above - below)",
        ("tests/laws/test_draws.py::test_law_6_the_numbers_drawn_follow_their_density",),
    )
    yield Mutant(
        "the draw is salted",
        "policies/draw.py",
        "digest_size=8, key=_key(salt), person=person).digest()",
        "digest_size=8, person=person).digest()",
        ("tests/laws/test_draws.py::test_law_6_the_draws_of_two_salts_are_independent",),
    )
    yield Mutant(
        "the draw has no chance of its own",
        "policies/draw.py",
        'int.from_bytes(digest, "little")',
        'int.from_bytes(__import__("os").urandom(8), "little")',
        (f"{PROPENSITY}::test_law_5_the_same_request_and_version_draw_the_same",),
    )


def _archiving() -> Iterator[Mutant]:
    yield Mutant(
        "the archive: a range is written once",
        "archive/writer.py",
        "                if not self._is_new(file) or not aside.exists():\n",
        "                if not aside.exists():\n",
        (
            f"{ARCHIVED}::test_a_range_that_is_there_is_not_written_again",
            f"{ARCHIVED}::test_of_workers_at_the_same_moment_one_is_heard",
        ),
    )
    yield Mutant(
        "the archive: what is named was synced",
        "archive/writer.py",
        "                os.fsync(stream.fileno())\n",
        "                pass\n",
        (f"{ARCHIVED}::test_everything_is_synced_before_and_after_it_is_named",),
    )
    yield Mutant(
        "the archive: another log's copy is refused",
        "archive/writer.py",
        "        if identity == encode(LogIdentity(log_id=log)):\n",
        "        if True:\n",
        (f"{ARCHIVED}::test_the_archive_of_another_log_is_refused",),
    )


def _evaluating() -> Iterator[Mutant]:
    yield Mutant(
        "rows of a person are correlated",
        "replay/evaluation/intervals/sums.py",
        "        if by_unit and self.buckets is not None:\n            return clustered(",
        "        if not by_unit and self.buckets is not None:\n            return clustered(",
        (
            f"{EVALUATING}::test_rows_of_a_user_hang_together",
            "tests/replay/evaluation/intervals/test_segments.py::test_by_unit_all_hold_though_users_return",
        ),
    )
    yield Mutant(
        "rows of a person are correlated in a learner's log, too",
        "replay/evaluation/intervals/adaptive.py",
        "Linear(value, variance * effect * student**2, slopes)",
        "Linear(value, variance, slopes)",
        (
            "tests/replay/evaluation/intervals/test_adaptive.py::test_of_one_version_by_unit_it_is_the_interval_of_clusters",
        ),
    )
    yield Mutant(
        "few rows may hide a tail",
        "replay/evaluation/intervals/skewed.py",
        "        value + max(error, _reach(floor, variance, miss)),\n",
        "        value + error,\n",
        ("tests/replay/evaluation/intervals/test_delta.py::test_few_clicks_have_garwoods_limit_for_a_poisson_count",),
    )
    yield Mutant(
        "no weight knows its own row",
        "replay/evaluation/estimators/adaptive.py",
        "                second_moments[piece] = sums[source] / rows[source]\n",
        "                second_moments[piece] = float(pieces.squared_weight[piece])\n",
        (
            "tests/replay/evaluation/estimators/test_adaptive.py::test_the_rows_of_a_window_do_not_move_their_own_weight",
        ),
    )
    yield Mutant(
        "the model of a learner's log knows only the past",
        "replay/evaluation/evaluate.py",
        'by = "past" if learner else',
        'by = "time" if learner else',
        ("tests/replay/evaluation/test_evaluate.py::test_the_model_of_a_learners_log_knows_only_the_past",),
    )
    yield Mutant(
        "a log without chance is a fault",
        "replay/evaluation/health/findings.py",
        "            certain,\n            certain == 1.0,\n",
        "            certain,\n            certain > 1.0,\n",
        (
            "tests/replay/evaluation/health/test_findings.py::test_a_log_without_chance_is_found",
            "tests/replay/evaluation/health/test_verdict.py::test_what_is_never_reliable",
        ),
    )
    yield Mutant(
        "a value on rows that were learned is a fault",
        "replay/evaluation/health/findings.py",
        "            learned > 0,\n",
        "            learned < 0,\n",
        ("tests/replay/evaluation/health/test_verdict.py::test_what_is_never_reliable",),
    )
    yield Mutant(
        "bounds that are seen afterwards bound nothing",
        "replay/evaluation/over_time.py",
        "    bounded = within and math.isfinite(most - least)",
        "    bounded = math.isfinite(most - least)",
        (f"{EVALUATING}::test_rewards_beyond_0_and_1_have_a_sequence_only_where_their_range_was_told",),
    )
    yield Mutant(
        "two policies are compared on the same rows",
        "replay/evaluation/scan.py",
        "    both = np.isin(own_hashes, other_hashes)\n",
        "    both = np.ones(len(own_hashes), dtype=np.bool_)\n",
        ("tests/replay/evaluation/test_passes.py::test_what_one_of_them_refuses_is_left_out_of_both",),
    )
    yield Mutant(
        "of two policies both are looked at",
        "replay/evaluation/finalize.py",
        "worse(judgement, others.verdict)",
        "worse(judgement, judgement)",
        (f"{EVALUATING}::test_the_policy_that_is_compared_is_looked_at_too",),
    )
    yield Mutant(
        "decisions whose neighbours still wait do not count",
        "replay/evaluation/scan.py",
        "(late := times > closed_ms).any()",
        "(late := times > 2**62).any()",
        ("tests/replay/evaluation/test_evaluate.py::test_decisions_whose_neighbours_still_wait_do_not_count",),
    )
    yield Mutant(
        "a large user does not hide how users differ",
        "replay/evaluation/intervals/clustered.py",
        "        rest = (total - self.sums[some])",
        "        rest = (total - 0.5 * self.sums[some])",
        ("tests/replay/evaluation/intervals/test_clustered.py::test_by_hand",),
    )
    yield Mutant(
        "no value is reliable if one unit has a great share",
        "replay/evaluation/health/verdict.py",
        "    if largest is not None and largest > GREAT_SHARE:\n",
        "    if False:\n",
        ("tests/studies/test_units.py::test_a_log_with_one_great_user_is_never_reliable",),
    )
    yield Mutant(
        "no value is reliable if its width rests on two rows",
        "replay/evaluation/health/verdict.py",
        "FEWEST_OF_VARIANCE = 3\n",
        "FEWEST_OF_VARIANCE = 0\n",
        ("tests/replay/evaluation/health/test_verdict.py::test_a_width_that_rests_on_two_rows_is_never_reliable",),
    )
    yield Mutant(
        "a user with heavy weights counts by the weights",
        "replay/evaluation/intervals/clustered.py",
        " in _DIVISORS and slopes.get(name)]",
        " in ()]",
        ("tests/replay/evaluation/intervals/test_clustered.py::test_by_hand",),
    )
    yield Mutant(
        "rows of a slate are not taken for decisions in silence",
        "replay/evaluation/health/findings.py",
        "each is not None and each > UNITS_RETURN:\n        found",
        "each is not None and each > 1e9:\n        found",
        (
            "tests/replay/evaluation/logs/test_unit_like.py::test_rows_of_a_slate_are_not_taken_for_decisions_in_silence",
        ),
    )
    yield Mutant(
        "a log in which nothing was dropped has no sample weights",
        "replay/evaluation/scan.py",
        "        sized = sized or not all_alike(rows)\n",
        "        sized = True\n",
        (
            "tests/replay/evaluation/test_sample_weights.py::test_a_log_in_which_nothing_was_dropped_has_no_sample_weights",
        ),
    )
    yield Mutant(
        "sample weights are divided by their own mean, which is not known",
        "replay/evaluation/intervals/sums.py",
        "    change[:, at] = -mean / size\n",
        "",
        ("tests/replay/evaluation/test_sample_weights.py::test_intervals_of_rows_and_of_their_own_units_agree",),
    )
    yield Mutant(
        "few users say little of users",
        "replay/evaluation/intervals/sums.py",
        "min(effect * self.buckets.student(confidence, slopes) ** 2, float(self.moments.rows))",
        "effect",
        ("tests/replay/evaluation/intervals/test_clustered.py::test_few_units_make_the_design_effect_unsure",),
    )
    yield Mutant(
        "each part of a learner's log counts by its share",
        "replay/evaluation/estimators/default.py",
        '        return Default(name, "logged", reason)\n',
        '        return Default("adaptive-dr" if has_model else "adaptive-ips", "logged", reason)\n',
        ("tests/bowerbird/test_drifting.py::test_the_headline_covers_the_average_over_the_period",),
    )
    yield Mutant(
        "an action that was never logged is in the table",
        "replay/evaluation/overlap.py",
        " if name not in seen and mass > 0}",
        " if name in seen and mass < 0}",
        ("tests/bowerbird/test_actions.py::test_an_action_that_was_never_logged_comes_first",),
    )
    suspicions = "tests/replay/evaluation/health/test_suspicions.py"
    yield Mutant(
        "rewards that have not arrived yet are reported",
        "replay/evaluation/health/arrival.py",
        "        if p_value < RARE:\n",
        "        if p_value < 0:\n",
        (f"{suspicions}::test_missing_rewards_of_the_last_part_need_care",),
    )
    yield Mutant(
        "copies of rows are reported",
        "replay/evaluation/health/copies.py",
        "        if rows.event_hash is not None or rows.time_ms is None:\n",
        "        if True:\n",
        (f"{suspicions}::test_rows_that_were_written_twice_need_care",),
    )
    yield Mutant(
        "draws that depend on a segment are reported",
        "replay/evaluation/health/parts.py",
        "    if p_value >= RARE:\n",
        "    if True:\n",
        (f"{suspicions}::test_draws_that_depend_on_a_context_are_found",),
    )
    by_unit = "tests/replay/evaluation/health/test_units.py"
    yield Mutant(
        "checks of a log are tested with the variance between units",
        "replay/evaluation/health/checks.py",
        "    return state.by_unit if returning else None\n",
        "    return None\n",
        (f"{by_unit}::test_a_right_log_of_sticky_actions_is_not_accused",),
    )
    yield Mutant(
        "rows of a unit that were drawn anew count each",
        "replay/evaluation/health/units.py",
        "        return max(float(self._between(sums - self.sizes * mean).sum()) / alone, 1.0)\n",
        "        return unknown\n",
        (f"{by_unit}::test_rows_that_were_drawn_anew_count_each",),
    )
    yield Mutant(
        "mean weights of segments are tested with the variance between units",
        "replay/evaluation/health/parts.py",
        "sums.buckets if by_unit else None\n",
        "None\n",
        (f"{by_unit}::test_segments_of_sticky_actions_are_not_accused_either",),
    )
    yield Mutant(
        "a log that shows less gets no milder verdict",
        "replay/evaluation/health/warning_statistics.py",
        "        return more if more is not None and self.badness(more) > self.badness(value) else value\n",
        "        return value\n",
        ("tests/replay/evaluation/health/test_missing.py::test_the_missing_weight_is_what_keeps_the_verdict",),
    )
    in_memory = "tests/bowerbird/test_evaluating.py"
    yield Mutant(
        "what a bandit feedback cannot have is refused",
        "bowerbird/evaluating.py",
        "        _check_none_given(request)\n",
        "",
        (f"{in_memory}::test_what_a_bandit_feedback_can_not_have_is_refused",),
    )
    yield Mutant(
        "masked values of a bandit feedback are refused",
        "replay/evaluation/logs/obp_feedback.py",
        "    if np.ma.is_masked(values):\n",
        "    if False:\n",
        (f"{in_memory}::test_masked_values_of_a_bandit_feedback_are_refused",),
    )
    yield Mutant(
        "what else a constant reward can be is unknown",
        "replay/evaluation/intervals/influence_bound.py",
        "        return None if self.given or least != most",
        "        return None if True or least != most",
        (
            f"{in_memory}::test_a_constant_reward_is_never_reliable_without_a_range",
            "tests/replay/evaluation/intervals/test_influence_bound.py::test_a_constant_reward_does_not_say_what_else_one_can_be",
        ),
    )
    yield Mutant(
        "an odd value of an option is refused by name",
        "replay/evaluation/options.py",
        "        check_options(self)\n",
        "",
        ("tests/bowerbird/test_options.py::test_an_odd_value_of_an_option_is_named",),
    )
    missing = "tests/replay/evaluation/health/test_missing.py"
    yield Mutant(
        "the level of rewards does not matter to a self-normalised value",
        "replay/evaluation/health/statistics.py",
        "_in_errors(unseen, around_ratio, _ratio_error(state.ratio))",
        "_in_errors(unseen, _size(reward), _ratio_error(state.ratio))",
        (f"{missing}::test_the_level_of_rewards_does_not_matter_to_a_self_normalised_value",),
    )
    yield Mutant(
        "rewards of a down-sampled log count by their sample weight",
        "replay/evaluation/health/state.py",
        "            reward=Central.of(reward, times),\n",
        "            reward=Central.of(reward),\n",
        (f"{missing}::test_the_missing_weight_of_a_down_sampled_log_is_that_of_its_decisions",),
    )
    yield Mutant(
        "no value is reliable if most of what the target does is missing",
        "replay/evaluation/health/verdict.py",
        "    elif shown is not None and shown < MOST_SHOWN:\n",
        "    elif False:\n",
        ("tests/replay/evaluation/health/test_missing.py::test_the_answer_says_what_the_log_lacks",),
    )
    yield Mutant(
        "a biased interval includes the unbiased one",
        "replay/evaluation/intervals/possible.py",
        "    low, high = hull((found.low, found.high), (unbiased.low, unbiased.high))\n",
        "    low, high = found.low, found.high\n",
        (
            "tests/replay/evaluation/intervals/test_possible.py::test_the_interval_of_a_biased_estimator_includes_the_unbiased_one",
            "tests/bowerbird/test_ends.py::test_tuned_estimators_include_the_interval_of_the_plain_one",
        ),
    )
    yield Mutant(
        "ends of intervals lie within the range of rewards",
        "replay/evaluation/intervals/possible.py",
        "    low, high = cut((found.low, found.high), least, most)\n",
        "    low, high = found.low, found.high\n",
        (
            "tests/replay/evaluation/intervals/test_possible.py::test_an_interval_without_a_possible_value_becomes_the_range",
            "tests/bowerbird/test_ends.py::test_a_given_range_bounds_the_ends",
        ),
    )
    yield Mutant(
        "balanced weights of a learner's log are said to be biased",
        "replay/evaluation/evaluate.py",
        "    remarks = [UNFIXED] if balanced and not plan.fixed else []\n",
        "    remarks = [UNFIXED][:0]\n",
        ("tests/bowerbird/test_balanced.py::test_the_versions_of_a_learner_are_said_to_be_biased",),
    )


def _living() -> Iterator[Mutant]:
    yield Mutant(
        "a role in which something has died ends",
        "stream/liveness.py",
        "            if reason is not None and reason == former and not self.should_stop:\n",
        "            if False:\n",
        ("tests/stream/test_liveness.py::test_what_is_dead_twice_in_a_row_ends_the_role",),
    )
    yield Mutant(
        "a role in which something has died ends, also when its end hangs",
        "stream/liveness.py",
        "            if stopping * WATCH_S >= LEAVE_S:\n",
        "            if False:\n",
        ("tests/stream/test_liveness.py::test_a_process_that_hangs_is_ended",),
    )
    yield Mutant(
        "a commit at the end is not waited for for long",
        "stream/kafka/faust_app.py",
        "        await asyncio.wait({committing}, timeout=STOP_S)\n",
        "        await asyncio.wait({committing})\n",
        ("tests/stream/test_faust_app.py::test_a_commit_at_the_end_is_not_waited_for_for_long",),
    )
    yield Mutant(
        "what was fetched of a partition that is paused meanwhile is handed on",
        "stream/kafka/faust_app.py",
        "        return records, frozenset(records or ())\n",
        "        return records, _\n",
        ("tests/real/test_foreign_records.py::test_a_burst_and_then_silence_holds_no_window_back",),
    )
    yield Mutant(
        "each message of an older format is read as its own says",
        "stream/kafka/consumer.py",
        "        return _Batch(MemoryRecords(bytes(raw)).next_batch(), raw)\n",
        '        self._batches = getattr(self, "_batches", MemoryRecords(bytes(self._data)))\n'
        "        return _Batch(self._batches.next_batch(), raw)\n",
        ("tests/stream/test_decompress.py::test_older_formats_may_differ_within_one_fetch",),
    )
    yield Mutant(
        "waiting for a server is no publishing time",
        "policies/publish_schedule.py",
        "min((ended_ms - began_ms) * (1 / self._share - 1), self._longest_pause_ms)",
        "(ended_ms - began_ms) * (1 / self._share - 1)",
        (f"{LEARNER}::test_a_publish_that_waited_for_a_server_does_not_delay_the_next_for_long",),
    )
    yield Mutant(
        "half-open connections are given up together",
        "stream/clients.py",
        "if connected and self._last_action < self.silent_since",
        "if False and self._last_action < self.silent_since",
        ("tests/stream/test_clients.py::test_a_request_without_an_answer_casts_doubt_on_silent_connections",),
    )
    yield Mutant(
        "a connection that the broker has closed is closed",
        "stream/clients.py",
        "if not connected and self._reader is not None and",
        "if False and",
        ("tests/stream/test_clients.py::test_a_connection_that_the_broker_has_closed_is_closed_before_it_is_dropped",),
    )
    yield Mutant(
        "a request that times out closes its own connection",
        "stream/clients.py",
        "            raise RequestTimedOutError from None\n",
        "            raise\n",
        ("tests/stream/test_clients.py::test_a_request_that_times_out_closes_its_own_connection",),
    )
    yield Mutant(
        "the limit of a call is shorter than what its caller waits",
        "stream/kafka/consumer.py",
        "consumer._request_timeout_ms = 2 * CALL_MS",
        "consumer._request_timeout_ms = CALL_MS",
        ("tests/stream/test_clients.py::test_the_limit_of_a_call_is_shorter_than_what_its_caller_waits",),
    )
    yield Mutant(
        "what the join takes has one limit of depth",
        "rewards/join_items.py",
        "    check_depth(body, RECORD_DEPTH)\n",
        "",
        ("tests/records/test_nesting.py::test_what_the_join_takes_becomes_an_outcome_however_deep_the_stack",),
    )
    yield Mutant(
        "a request has one limit of depth",
        "policies/decide.py",
        "        check_depth(raw, RECORD_DEPTH)\n",
        "",
        ("tests/records/test_nesting.py::test_a_request_is_refused_by_the_same_limit",),
    )
    yield Mutant(
        "the largest outcome fits into a message",
        "records/feedback.py",
        "    if record.action is not None and (size",
        "    if False and (size",
        ("tests/rewards/test_outcome.py::test_an_action_is_bounded_by_its_bytes_as_json",),
    )
    yield Mutant(
        "a message has a limit of records",
        "records/codec.py",
        "        if len(raws) > ITEMS_LIMIT:\n",
        "        if False:\n",
        (
            "tests/records/test_records.py::test_a_message_has_a_limit_of_records",
            f"{INTAKE}::test_an_array_of_more_items_than_a_message_may_have_is_one_rejection",
        ),
    )
    yield Mutant(
        "a model is loaded beside the loop",
        "stream/redis/model_loader.py",
        "await loop.run_in_executor(self._thread, _timed, name, published)",
        "_timed(name, published)",
        (f"{LOADER}::test_the_loop_turns_while_a_model_is_loaded_and_the_former_version_decides",),
    )
    yield Mutant(
        "loading takes a small share of the time",
        "stream/redis/policy_cache.py",
        "            if self._news and not pause_s:\n",
        "            if self._news:\n",
        (f"{LOADER}::test_no_version_is_loaded_during_the_pause_after_a_load",),
    )
    yield Mutant(
        "loading takes a small share of the time",
        "stream/redis/model_loader.py",
        "min(cpu_s / LOADING_SHARE, MOST_PAUSE_S)",
        "MOST_PAUSE_S",
        (f"{LOADER}::test_a_load_is_followed_by_a_pause_of_fifty_times_its_cpu_up_to_five_seconds",),
    )
    yield Mutant(
        "a role asks for huge pages",
        "bowerbird/supervisor.py",
        "HUGE_PAGES | dict(self._environment)",
        "dict(self._environment)",
        ("tests/bowerbird/test_supervisor.py::test_a_role_asks_for_huge_pages_unless_the_environment_decides",),
    )
    yield Mutant(
        "the version that was in use is closed beside the loop",
        "stream/redis/model_loader.py",
        "self._thread.submit(policy.close)",
        "policy.close()",
        (f"{LOADER}::test_the_version_that_was_in_use_is_closed_beside_the_loop",),
    )
    yield Mutant(
        "the loop turns while very many requests are decided",
        "stream/roles/turn.py",
        "        if perf_counter() - self._since >= TURN_S:\n",
        "        if False:\n",
        ("tests/stream/test_deciding.py::test_the_loop_turns_while_very_many_requests_are_decided",),
    )
    yield Mutant(
        "decompression has a limit",
        "stream/kafka/consumer.py",
        "decompress.install()\n",
        "",
        ("tests/stream/test_decompress.py::test_a_batch_beyond_the_limit_is_one_record_of_its_bytes",),
    )
    yield Mutant(
        "every integer of a record is bounded",
        "records/fields.py",
        "Natural = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]",
        "Natural = Annotated[int, Meta(ge=0)]",
        ("tests/laws/test_readers.py::test_whatever_a_field_of_an_outcome_holds_no_reader_fails_on_it",),
    )
    rest = "    picks: list[PickedAction] = []\n    policy: Name\n    policy_version: str\n    activate"
    yield Mutant(
        "what the join takes is a whole decision",
        "records/decision.py",
        f"    ranking: list[str] = []\n{rest}",
        f"    ranking: Raw = Raw(b'[]')\n{rest}",
        ("tests/laws/test_readers.py::test_whatever_a_field_holds_no_reader_fails_on_what_the_join_takes",),
    )
    yield Mutant(
        "what is dated far beyond the clock holds nothing up",
        "rewards/join_worker.py",
        "return self.clock_ms is not None and message.time_ms > self.clock_ms + FUTURE_MS",
        "return False",
        (f"{INTAKE}::test_what_is_dated_far_beyond_the_clock_is_rejected_and_holds_nothing_up",),
    )
    yield Mutant(
        "what cannot be used counts towards a work",
        "rewards/join_worker.py",
        "full = len(items) + len(rejected) >= self.settings.portion_items",
        "full = len(items) >= self.settings.portion_items",
        (f"{INTAKE}::test_a_work_is_bounded_by_its_items_whether_or_not_they_can_be_used",),
    )
    yield Mutant(
        "many unusable items of one array are one letter",
        "stream/kafka/dead_letters.py",
        "        if len(own) > APART:\n",
        "        if False:\n",
        ("tests/stream/test_dead_letters.py::test_many_bad_items_of_one_array_are_one_letter",),
    )


def _recovery() -> Iterator[Mutant]:
    """Yield the mutants of what a recovery rests on."""
    held = "test_recovery_only_who_holds_a_shard_steps_it"
    counted = "test_recovery_what_an_outcome_has_counted_is_no_late_feedback"
    lost = "test_offsets_a_shard_that_has_lost_something_is_stepped_by_nobody"
    yield from _in_both(
        "a call closes so many bytes at most",
        (
            "if number == self.transaction.close_limit or self.written >= most:",
            "if number == self.transaction.close_limit:",
        ),
        ("  if written >= most then break end\n  local event_id, deadline", "  local event_id, deadline"),
        "test_a_call_closes_windows_until_they_have_so_many_bytes",
    )
    yield from _in_both(
        "a flood of feedback for one decision takes several calls",
        (
            "            if not self.drop_beyond_limit(entry, most) or not self.give_up_early(entry, most):\n",
            "            if not self.drop_beyond_limit(entry, 10**9) or not self.give_up_early(entry, 10**9):\n",
        ),
        (
            "  if not drop_beyond_limit(event_id, header, most) or not give_up_early(",
            "  if not drop_beyond_limit(event_id, header, 1e9) or not give_up_early(",
        ),
        "test_a_flood_of_feedback_for_one_decision_takes_several_calls",
    )
    yield Mutant(
        "the head of an outbox is bounded in bytes",
        "stream/redis/store.py",
        " and size < tonumber(ARGV[2]) do",
        " do",
        (f"{IN_REDIS}::test_the_head_of_an_outbox_ends_with_the_entry_that_reaches_its_bytes",),
    )
    yield Mutant(
        "a turn of the emitter goes on after a small head",
        "stream/roles/outbox.py",
        "if entries[-1].seq >= last_seq or",
        "if True or",
        ("tests/stream/test_emitter.py::test_large_outcomes_leave_in_small_heads_and_in_one_turn",),
    )
    yield Mutant(
        "a lease that no emitter can have is taken over",
        "stream/redis/store.py",
        "if left_ms == EXPIRED or 0 <= left_ms <= milliseconds:",
        "if left_ms:",
        ("tests/real/test_spoilt_state.py::test_a_lease_that_no_emitter_can_have_is_taken_over",),
    )
    yield Mutant(
        "values of the state that cannot be read are named",
        "stream/redis/spoilt.py",
        "        if is_unreadable(error):",
        "        if False:",
        ("tests/real/test_spoilt_state.py::test_a_step_that_finds_what_it_cannot_read_says_so",),
    )
    yield Mutant(
        "what an example costs is bounded",
        "policies/vw/generated.py",
        "if (generated := self.generated(text)) > MOST_GENERATED:",
        "if (generated := self.generated(text)) < 0:",
        ("tests/policies/vw/test_generated.py::test_an_example_that_costs_too_much_is_refused_before_it_is_parsed",),
    )
    yield Mutant(
        "an assignment waits for servers that are away",
        "stream/kafka/faust_app.py",
        "        await super()._wait(coro)\n",
        "        await super()._wait(coro, timeout)\n",
        ("tests/stream/test_faust_app.py::test_an_assignment_is_waited_for_longer_than_a_request_may_take",),
    )
    yield Mutant(
        "a client that fails as it is closed has its connections closed",
        "stream/shutdown.py",
        " or closing.cancelled() or closing.exception() is not None:\n",
        ":\n",
        ("tests/stream/test_tasks.py::test_a_client_that_fails_as_it_is_closed_has_its_connections_closed",),
    )
    yield Mutant(
        "a client whose start is given up is closed",
        "stream/shutdown.py",
        "        await finished(_given_up(client, starting))\n",
        "        await _given_up(client, starting)\n",
        ("tests/stream/test_tasks.py::test_a_client_whose_start_is_cancelled_again_and_again_is_closed",),
    )
    yield Mutant(
        "what was stored and not acknowledged counts as read",
        "stream/roles/input_guard.py",
        "    if acknowledged is None and not any(stored):",
        "    if acknowledged is None:",
        ("tests/stream/test_join.py::test_what_was_removed_unread_is_a_loss_also_where_nothing_was_acknowledged",),
    )
    yield Mutant(
        "a worker that waits for a recovery names nothing else",
        "stream/roles/join_retry.py",
        "        self._display.say_missing(set())\n",
        "",
        ("tests/real/test_remedies.py::test_a_worker_that_waits_for_a_recovery_names_nothing_else",),
    )
    yield Mutant(
        "requests that wait are seen",
        "bowerbird/status/observer.py",
        "if any(starts[name] < min(by_then[name], ends[name]) for name in partitions):",
        "if False:",
        ("tests/real/test_status.py::test_requests_that_wait_and_a_stranger_in_a_group_are_seen",),
    )
    yield Mutant("the hold", STORE, "if state.hold != transaction.hold:", "if False:", (f"{IN_MEMORY}::{held}",))
    yield Mutant("the hold", SCRIPT, "if held ~= arg() then", "if arg() == 0 then", (f"{IN_REDIS}::{held}",))
    yield Mutant(
        "feedback that has counted is passed over",
        STORE,
        "if item.position.time_ms <= self.state.counted.get(item.event_id, -1):",
        "if False:",
        (f"{IN_MEMORY}::{counted}",),
    )
    yield Mutant(
        "feedback that has counted is passed over",
        SCRIPT,
        "if deadline and time_of(position) <= tonumber(deadline) then",
        "if false then",
        (f"{IN_REDIS}::{counted}",),
    )
    yield Mutant(
        "a role's start waits for a recovery",
        "stream/retry.py",
        "if not isinstance(refused, waits_after):",
        "if waits_after:",
        ("tests/stream/test_retry.py::test_a_recovery_is_waited_for_and_shown_meanwhile",),
    )
    yield Mutant(
        "a loss stops all workers", STORE, "state.hold = state.hold or NEEDED", "pass", (f"{IN_MEMORY}::{lost}",)
    )
    yield Mutant(
        "a loss stops all workers", SCRIPT, "call('SET', HOLD, 'needed')", "held = ''", (f"{IN_REDIS}::{lost}",)
    )
    yield Mutant(
        "a decision whose window ends later is unfinished",
        "rewards/recovery.py",
        "return last is None or deadline >= last.deadline_ms",
        "return last is None or deadline > last.deadline_ms",
        ("tests/rewards/test_recovery.py::test_repeats_and_what_is_no_outcome_do_not_move_the_frontier",),
    )
    yield Mutant(
        "a seq that was emitted is not emitted again",
        "stream/roles/outbox.py",
        "        if first <= emitted:\n",
        "        if False:\n",
        ("tests/real/test_outbox.py::test_a_seq_that_was_emitted_is_not_emitted_again_for_another_outcome",),
    )
    yield Mutant(
        "versions of other arguments are no versions of a policy",
        "bowerbird/recovery/rebuild.py",
        "if own and not is_own:",
        "if False:",
        ("tests/real/test_recover.py::test_a_version_with_a_number_far_ahead_is_settled_by_a_rebuild",),
    )
    yield Mutant(
        "a policy is not learned from a part of its outcomes unasked",
        "bowerbird/recovery/rebuild.py",
        "        if not self._accept_loss and (gone := self._gone()):\n",
        "        if gone := False:\n",
        (
            "tests/real/test_recover_without_archive.py::"
            "test_outcomes_that_are_gone_for_good_hold_up_learning_until_the_loss_is_accepted",
        ),
    )
    second = "test_no_decision_gets_a_second_outcome_where_the_first_was_removed_too_early"
    yield Mutant(
        "outcomes that were removed too early are missed by a recovery",
        "bowerbird/recovery/join_losses.py",
        "    if not frontiers.removed_after(since_ms):\n",
        "    if True:\n",
        (f"tests/real/test_recover_without_archive.py::{second}",),
    )
    yield Mutant(
        "where the loss of outcomes is accepted, no decision gets a second one",
        "bowerbird/recovery/join.py",
        "            return not unfinished or self._frontiers.removed(window, shard)\n",
        "            return False\n",
        (f"tests/real/test_recover_without_archive.py::{second}",),
    )
    yield Mutant(
        "an outcome does not leave before those with lower seqs",
        "stream/roles/outbox.py",
        "            if in_log is not None and first > in_log + 1:\n",
        "            if False:\n",
        ("tests/stream/test_emitter.py::test_an_outcome_does_not_leave_before_those_with_lower_seqs",),
    )
    yield Mutant(
        "a version that a transaction hides is not appended again",
        "policies/publisher.py",
        "            await self._versions.refuse_hidden()\n",
        "",
        (
            "tests/real/test_hidden_records.py::test_a_learner_that_cannot_see_its_versions_waits_and_does_not_append_them_again",
        ),
    )
    yield Mutant(
        "outcomes that a transaction hides are not taken for lost",
        "stream/kafka/last_seqs.py",
        "        if await self._reader.open_transactions(where):\n",
        "        if False:\n",
        ("tests/real/test_hidden_records.py::test_a_join_that_cannot_see_its_outcomes_goes_on",),
    )
    yield Mutant(
        "an outbox stays in its partition when its placement has left the settings",
        "stream/kafka/last_seqs.py",
        "            self._former_partitions |= dict.fromkeys(version.placements, version.partition)\n",
        "",
        (
            "tests/real/test_hidden_records.py::"
            "test_windows_of_a_placement_that_was_taken_out_of_the_settings_close_where_its_policy_learns",
        ),
    )
    yield Mutant(
        "an outbox stays in its partition when its placement has left the settings",
        "stream/redis/partitions.py",
        "            return whole(value) if value is not None else None\n",
        "            return None\n",
        (
            "tests/real/test_hidden_records.py::"
            "test_windows_of_a_placement_that_was_taken_out_of_the_settings_close_where_its_policy_learns",
        ),
    )
    yield Mutant(
        "outcomes that were acknowledged without being learned are learned",
        "stream/roles/learned_policy.py",
        '            await until_there(LEARN, f"reading what {name} lacks", partial(self._take_unread, end))\n\n',
        "            pass\n\n",
        (
            "tests/real/test_hidden_records.py::"
            "test_windows_of_a_placement_that_was_taken_out_of_the_settings_close_where_its_policy_learns",
        ),
    )
    yield Mutant(
        "what Redis refuses is said",
        "stream/retry.py",
        "    elif isinstance(error, ResponseError) and refusal_code(error) != BUSY:\n",
        "    elif False:\n",
        ("tests/stream/test_retry.py::test_what_redis_refuses_again_and_again_is_shown_until_it_takes_it",),
    )
    yield Mutant(
        "a count of windows that somebody has changed is found",
        "bowerbird/recovery/join_problems.py",
        "        if not entries == bodies == due == pending:\n",
        "        if not entries == bodies == due:\n",
        (
            "tests/real/test_recover_without_archive.py::"
            "test_a_count_of_windows_that_somebody_has_changed_is_found_and_computed_again",
        ),
    )
    yield Mutant(
        "a watermark ahead of the clock is found",
        "bowerbird/recovery/join_problems.py",
        "        if ahead_ms > AHEAD_MS:\n",
        "        if False:\n",
        ("tests/real/test_recover_without_archive.py::test_a_state_that_no_join_has_left_is_found_and_computed_again",),
    )
    yield Mutant(
        "the first outcome has the seq 1",
        "records/outcome.py",
        "    outcome_seq: Positive\n",
        "    outcome_seq: int\n",
        ("tests/replay/proof/test_verify.py::test_one_changed_bit_of_rewards_is_found",),
    )


def _recovered_state() -> Iterator[Mutant]:
    """Yield the mutants of what a recovery computes again, finds and gives up."""
    recovered = "tests/real/test_recover.py::"
    emptied = f"{recovered}test_a_redis_that_was_emptied_is_rebuilt_while_the_roles_wait"
    yield Mutant(
        "closed event ids are remembered again",
        "bowerbird/recovery/join.py",
        "closings[head.shard].append(Closing(head.event_id, dedup_until_ms, head.closed_ms))",
        "pass",
        (emptied,),
    )
    yield Mutant(
        "a recovery goes on from the last seqs",
        "bowerbird/recovery/join.py",
        "seqs = self._frontiers.seqs(shard)",
        "seqs: dict[str, int] = {}",
        (emptied,),
    )
    yield Mutant(
        "the topic's id",
        "stream/roles/input_guard.py",
        "if topic.id and known[name] != topic.id:",
        "if False:",
        (f"{recovered}test_a_topic_of_which_nothing_was_read_is_known_by_its_id",),
    )
    yield Mutant(
        "an acknowledgement beyond the log is void",
        "bowerbird/recovery/join.py",
        "await self._store.void_acknowledgements(read_on)",
        "pass",
        (f"{recovered}test_what_a_worker_acknowledges_at_its_end_does_not_matter_after_a_recovery",),
    )
    yield Mutant(
        "what was acknowledged of a former log is void",
        "bowerbird/recovery/join_problems.py",
        "marks[name].offset + 1 if name in marks else 0",
        "0",
        (f"{recovered}test_what_was_acknowledged_of_a_former_log_does_not_matter_when_the_present_one_has_grown",),
    )
    yield Mutant(
        "a log that ends before what was read of it",
        "stream/roles/input_guard.py",
        "for name in self._shorter.look(read, ends):",
        "for name in list[Input]():",
        (f"{recovered}test_a_broker_that_lost_its_tail_stops_the_join_until_a_recovery",),
    )
    yield Mutant(
        "a log that lost its tail and grew again",
        "stream/roles/input_guard.py",
        "if replaced := await self.reader.replaced(known):",
        "if replaced := list[Input]():",
        (f"{recovered}test_a_broker_that_lost_its_tail_stops_the_join_until_a_recovery",),
    )
    yield Mutant(
        "feedback that was removed unread is missed by a recovery",
        "bowerbird/recovery/join_losses.py",
        "if offset < ends.begins[name] and (held is None or held[0] > offset):",
        "if False:",
        ("tests/real/test_remedies.py::test_input_that_was_removed_unread_is_given_up_by_a_command",),
    )
    yield Mutant(
        "requests that were removed unread are counted",
        "stream/roles/decide.py",
        "        if expected is None or offset <= expected:\n",
        "        if True:\n",
        (f"{ACKNOWLEDGED}::test_requests_that_were_removed_before_decide_read_them_are_counted_and_named",),
    )
    yield Mutant(
        "parts of the join's state that are missing are counted",
        "bowerbird/recovery/join_problems.py",
        "        if not entries == bodies == due == pending:\n",
        "        if False:\n",
        (f"{recovered}test_keys_that_somebody_deleted_are_missed",),
    )
    yield Mutant(
        "dead letters are not repeated by a recovery",
        "bowerbird/recovery/join.py",
        "self._lettered[hash(letter.source)] = letter.time_ms",
        "pass",
        (emptied,),
    )
    yield Mutant(
        "a recovery names what it misses",
        "bowerbird/recovery/join_losses.py",
        "if first_ms > from_ms and (held is None or held[0] > 0):",
        "if False:",
        (
            "tests/real/test_recover_archive.py::"
            "test_what_kafka_has_forgotten_comes_from_the_archive_and_lost_feedback_is_named",
        ),
    )
    yield Mutant(
        "a log with another name is noticed while the roles run",
        "stream/kafka/topic_ids.py",
        "        return self._id != now.id\n",
        "        return False\n",
        ("tests/real/test_remedies.py::test_a_redis_of_another_log_is_discarded_by_a_command",),
    )
    yield Mutant(
        "a learner that was put right starts anew",
        "stream/roles/learn.py",
        "if await self._put_right(number):",
        "if False:",
        ("tests/real/test_remedies.py::test_a_role_that_may_not_go_on_names_the_command_that_ends_it",),
    )
    yield Mutant(
        "a learner goes on where Redis holds the same again",
        "stream/roles/learn.py",
        "                self._unlike.add(number)\n",
        "",
        ("tests/real/test_learn.py::test_a_redis_that_holds_the_same_again_is_continued",),
    )
    yield Mutant(
        "what stood in a topic that was made anew is not verifiable",
        "replay/proof/retained.py",
        "return offset < start or time_ms < self._oldest_ms.get(name, time_ms + 1)",
        "return offset < start",
        (
            "tests/replay/proof/test_verify.py::test_a_topic_that_was_made_anew_proves_nothing_of_before",
            "tests/replay/proof/test_verify.py::test_what_is_wrong_after_a_topic_was_made_anew_is_found",
        ),
    )
    yield Mutant(
        "the archive: a topic that was made anew is refused",
        "stream/roles/archive.py",
        "            if self._ids[name] != topic_id:\n",
        "            if False:\n",
        (
            "tests/real/test_archive.py::test_an_archive_of_another_log_or_topic_is_set_aside_by_the_command_that_is_named",
        ),
    )


def _tables() -> Iterator[Mutant]:
    texts, columns = (f"tests/replay/evaluation/logs/test_{name}.py::" for name in ("text_tables", "columns"))
    yield Mutant(
        "a quote that is not closed drops no rows",
        "replay/evaluation/logs/quotes.py",
        "        if fields.open:\n",
        "        if False:\n",
        (f"{texts}test_a_quote_never_drops_rows",),
    )
    yield Mutant(
        "two quotes that pair up drop no rows",
        "replay/evaluation/logs/quotes.py",
        "            if all(map(is_row, ",
        "            if False and all(map(is_row, ",
        (f"{texts}test_a_quote_never_drops_rows",),
    )
    yield Mutant(
        "ids of actions are not read as places",
        "replay/evaluation/logs/column_rows.py",
        "        if _types.is_integer(names.type):\n            return True\n",
        "        if _types.is_integer(names.type):\n            return False\n",
        (f"{columns}test_ids_of_actions_are_looked_up_and_are_no_places",),
    )
    yield Mutant(
        "times in another unit are refused",
        "replay/evaluation/logs/column_rows.py",
        "if (right := (times >= _FROM_MS) & (times < _TO_MS)).all():",
        "if (right := times == times).all():",
        (
            f"{columns}test_times_in_another_unit_are_refused",
            f"{columns}test_a_unit_that_changes_within_the_log_is_refused",
        ),
    )
    yield Mutant(
        "what is hidden in a folder is no part of its table",
        "replay/evaluation/logs/formats.py",
        "if not any(map(_is_hidden, file.relative_to(folder).parts)))",
        "if file)",
        ("tests/replay/evaluation/logs/test_table_files.py::test_what_is_hidden_in_a_folder_is_no_part_of_its_table",),
    )


def _errors() -> Iterator[Mutant]:
    yield Mutant(
        "errors of libraries in our own words",
        "archive/reader.py",
        '    return "bytes that are damaged or cut short"',
        "    return str(error)",
        ("tests/errors/test_log_files.py::test_an_archive_with_files_that_are_spoilt",),
    )
    yield Mutant(
        "nothing that a terminal obeys",
        "bowerbird/commands/shared.py",
        "    sys.stderr.write(printable(text)",
        "    sys.stderr.write(str(text)",
        ("tests/errors/test_log_files.py::test_what_is_no_file",),
    )
    yield Mutant(
        "the values of Vowpal Wabbit's arguments",
        "policies/vw/values.py",
        '    return None if expected is None else f"found {value}, expected {expected}"',
        "    return None",
        ("tests/policies/test_checks.py::test_what_cannot_be_made_is_a_problem_too",),
    )
    yield Mutant(
        "a misspelt stream",
        "bowerbird/settings/contradictions.py",
        "    return near[0] if near else None",
        "    return None",
        ("tests/bowerbird/test_settings.py::test_a_misspelt_stream_is_refused",),
    )
    yield Mutant(
        "requests without a partition of decisions stop decide with a sentence",
        "stream/roles/appender.py",
        "if stopped.stop(DECIDE, self._topic, failed):",
        "if False:",
        ("tests/real/test_decide.py::test_partitions_that_are_added_are_decided_from_their_first_request",),
    )
    yield Mutant(
        "ends of a sequence that cross bound nothing",
        "replay/evaluation/over_time.py",
        "    lows, highs = np.where(crossed, least, lows), np.where(crossed, most, highs)",
        "    lows, highs = np.where(crossed, lows, lows), np.where(crossed, highs, highs)",
        ("tests/bowerbird/test_ends.py::test_ends_do_not_cross_where_propensities_are_wrong",),
    )
    yield Mutant(
        "many open decisions are reported at the top",
        "replay/evaluation/report/words.py",
        "    if count <= OPEN_SHARE * of:",
        "    if count <= of:",
        ("tests/replay/evaluation/report/test_table.py::test_many_open_decisions_are_told_at_the_top",),
    )


def _at_the_edge() -> Iterator[Mutant]:
    """What other programs, and people, do to the service."""
    yield Mutant(
        "a policy's home of another type is refused",
        "stream/redis/policy_store.py",
        "        if home not in HASH_OR_NONE:\n",
        "        if False:\n",
        (f"{PUBLISH_IN_REDIS}::test_a_home_of_another_type_is_refused_until_it_is_discarded",),
    )
    yield Mutant(
        "copies of an outcome are compared by what they say",
        "replay/proof/content.py",
        "        record = _encode(_decode(record))",
        "        record = record.strip()",
        ("tests/replay/proof/test_verify.py::test_a_copy_with_other_spaces_and_another_order_of_fields_is_a_repeat",),
    )
    yield Mutant(
        "the archive holds nothing of the topic that replaced its own",
        "archive/growing_file.py",
        "kept = table.filter(",
        "kept = table if time_ms else table.filter(",
        ("tests/stream/test_archive_file.py::test_what_is_younger_than_a_topic_that_was_made_anew_is_left_out",),
    )
    yield Mutant(
        "a default is one of the actions",
        "clients/python/bowerbird_client/values.py",
        "    if ids and chosen not in ids:",
        "    if False:",
        ("tests/clients/test_client.py::test_a_default_is_one_of_the_actions",),
    )
    yield Mutant(
        "feedback has the value that its rule needs",
        "clients/python/bowerbird_client/valued.py",
        "        if stream in self._streams.get(event_id, ()):",
        "        if False:",
        ("tests/clients/test_client.py::test_feedback_without_the_value_that_its_rule_needs_is_refused",),
    )
    yield Mutant(
        "dead letters hold no outcome up",
        "stream/roles/outbox.py",
        "if outbox == DEAD_LETTERS and heads >= LETTER_HEADS:",
        "if False:",
        ("tests/stream/test_emitter.py::test_a_flood_of_dead_letters_leaves_in_several_turns",),
    )
    yield Mutant(
        "one program at a time sends dead letters again",
        "stream/kafka/resend.py",
        "transactional_id=config.topic(TRANSACTIONAL_ID),",
        'transactional_id=f"{config.topic(TRANSACTIONAL_ID)}-{id(reader)}",',
        ("tests/real/test_resend.py::test_who_is_overtaken_says_so_and_has_sent_nothing_twice",),
    )
    yield Mutant(
        "a record that was sent again is known by its bytes",
        "stream/kafka/resend.py",
        'blake2b(value or b"", digest_size=8)',
        'blake2b(b"", digest_size=8)',
        ("tests/real/test_resend.py::test_a_letter_of_a_topic_that_was_created_again_is_another_one",),
    )
    yield Mutant(
        "a dead letter is not cut for what its topic took before",
        "stream/kafka/dead_letters.py",
        "(letter, LARGE_MESSAGE_BYTES - ROOM_BYTES) for",
        "(letter, ROOM_BYTES) for",
        ("tests/stream/test_dead_letters.py::test_when_the_topic_takes_what_it_should_again_letters_are_whole_again",),
    )
    yield Mutant(
        "what Kafka does not acknowledge is shown",
        "stream/retry.py",
        "elif isinstance(error, KafkaTimeoutError | NotEnoughReplicasError):",
        "elif False:",
        ("tests/stream/test_retry.py::test_what_kafka_does_not_acknowledge_again_and_again_is_shown",),
    )
    yield Mutant(
        "a letter shows what is wrong with its headers",
        "stream/kafka/dead_letter_log.py",
        """return f"not as Bowerbird writes it: {', '.join(wrong)}" if wrong else \"\"""",
        'return ""',
        ("tests/stream/test_dead_letter_log.py::test_headers_that_another_program_wrote_hide_nothing",),
    )
    yield Mutant(
        "an interrupt at the start shows no traceback",
        "bowerbird/__main__.py",
        "        signal.signal(signal.SIGINT, interrupts.leave)\n    standard_streams",
        "        pass\n    standard_streams",
        ("tests/bowerbird/test_cli.py::test_an_interrupt_at_the_start_or_the_end_shows_no_traceback",),
    )
    yield Mutant(
        "an interrupt that a library swallows ends the command",
        "bowerbird/interrupts.py",
        "    signal.set_wakeup_fd(written, warn_on_full_buffer=False)\n",
        "",
        ("tests/bowerbird/test_cli.py::test_an_interrupt_that_a_library_swallows_ends_the_command",),
    )
    yield Mutant(
        "what was aborted is no backlog",
        "bowerbird/status/observer.py",
        "                starts[name] = ends[name]\n",
        "                pass\n",
        ("tests/real/test_status.py::test_a_learner_that_stands_still_is_told",),
    )
    yield Mutant(
        "a reply topic that does not exist is logged once",
        "stream/roles/replies.py",
        "        if name not in self._said and len(self._said) < MOST_SAID:",
        "        if False:",
        ("tests/real/test_decide.py::test_a_reply_topic_that_is_missing_stalls_nobody_and_is_not_created",),
    )
    yield Mutant(
        "a learner whose topic `versions` is gone says so",
        "stream/roles/learn.py",
        "            if missing == MISSING_LOOKS:\n",
        "            if False:\n",
        ("tests/real/test_remedies.py::test_a_redis_of_another_log_is_discarded_by_a_command",),
    )
    yield Mutant(
        "a role that does nothing without an excuse ends",
        "stream/liveness.py",
        "return lambda: sentence if self.seconds() > limit_s else None",
        "return lambda: None",
        (
            "tests/stream/test_liveness.py::test_a_role_that_does_nothing_without_an_excuse_is_started_again",
            "tests/real/test_liveness.py::test_a_role_in_which_something_dies_ends_with_a_code",
        ),
    )
    yield Mutant(
        "a server that has failed is an excuse for doing nothing",
        "stream/liveness.py",
        "if failed != self._failed or self._stopped():",
        "if False:",
        ("tests/stream/test_liveness.py::test_a_role_that_does_nothing_without_an_excuse_is_started_again",),
    )
    yield Mutant(
        "a session that the broker refuses is named",
        "stream/kafka/faust_app.py",
        "if isinstance(error, InvalidSessionTimeoutError):",
        "if False:",
        ("tests/real/test_dead_tasks.py::test_a_session_that_the_broker_refuses_is_named_by_every_role",),
    )
    yield Mutant(
        "an archive that is longer than versions names what discards the former log",
        "stream/roles/archive.py",
        'with_log=name[0] == self._config.topic("versions"))',
        "with_log=False)",
        (
            "tests/real/test_archive.py::"
            "test_an_archive_that_is_longer_than_versions_is_set_aside_with_the_state_of_the_former_log",
        ),
    )
    yield Mutant(
        "an archive that cannot be written says so",
        "stream/roles/archive.py",
        "                    stopped.stop(ARCHIVE, PLACE, cannot_write(self._config, of_disk(error)))",
        "                    pass",
        ("tests/real/test_archive.py::test_an_archive_that_cannot_be_written_says_so_and_goes_on_by_itself",),
    )


def _starting() -> Iterator[Mutant]:
    """Return what keeps a start short, and right."""
    own = "tests/stream/test_versions_tail.py::"
    same = own + "test_a_snapshot_changes_nothing_that_is_read"
    bounded = own + "test_no_start_and_no_display_reads_more_of_an_older_log"
    yield Mutant(
        "`versions` is read from its last snapshot on",
        "stream/kafka/versions_tail.py",
        "        if snapshot is not None and records and records[0].offset <= snapshot.end_offset:\n",
        "        if False:\n",
        (bounded,),
    )
    yield Mutant(
        "a snapshot of `versions` is written",
        "stream/kafka/versions.py",
        "        if written.offset >= self._look_at:\n",
        "        if False:\n",
        (bounded,),
    )
    yield Mutant(
        "a snapshot holds what was read, not what was appended meanwhile",
        "stream/kafka/versions_tail.py",
        "        records = [record for record in records if record.offset >= snapshot.end_offset]\n",
        "        records = [record for record in records if record.offset > snapshot.end_offset]\n",
        (same,),
    )
    yield Mutant(
        "a snapshot keeps two records of one version that differ",
        "records/newest_versions.py",
        "            self._differing[policy] = [newest, logged]\n",
        "            pass\n",
        (same, own + "test_a_learner_starts_on_two_records_that_differ_however_long_ago_they_were_written"),
    )
    yield Mutant(
        "a snapshot that says what it cannot know is passed over",
        "records/newest_versions.py",
        "    return snapshot if known else None\n",
        "    return snapshot\n",
        (own + "test_a_snapshot_that_says_what_it_cannot_know_is_passed_over",),
    )
    yield Mutant(
        "a snapshot tells how far back a policy's versions lie",
        "stream/redis/saved_policies.py",
        "before.offset + 1 if before is not None else begins)",
        "stop)",
        (bounded,),
    )


MUTANTS = (
    *_joining(),
    *_recovery(),
    *_recovered_state(),
    *_learning(),
    *_deciding(),
    *_archiving(),
    *_living(),
    *_evaluating(),
    *_tables(),
    *_errors(),
    *_at_the_edge(),
    *_starting(),
)
