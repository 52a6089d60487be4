"""``bowerbird trace``."""

from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    AsJson,
    ConfigFile,
    answer,
    complain,
    moment,
    run,
    say,
    settings,
)

if TYPE_CHECKING:
    from replay.proof.trace import Trace, TracedDecision, TracedFeedback


def trace(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The name of a decision.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the life of one decision: request, decision, feedback, reward and version, and why.

    Its request, the decision, each feedback and why it counted or not, when and why its window closed, the reward, and
    the version that learned it. Exit code 1: the logs hold nothing of it.

    Example: bowerbird trace visit-1
    """
    import msgspec
    from rich.console import Console
    from rich.status import Status

    from bowerbird.trace import trace as traced

    if not event_id or not event_id.isprintable():
        complain(f"EVENT_ID: found {event_id!r}, expected 1 to 128 bytes of UTF-8 without control characters")
        raise typer.Exit(WRONG_USE)
    loop_config = settings(config)
    console = Console(stderr=True)
    with Status("reading", console=console) as status:

        def progress(topic: str, read: int) -> None:
            status.update(f"reading {topic}: {read:,} messages")

        event_trace = run(loop_config, lambda: traced(loop_config, event_id, progress))
    if as_json:
        answer(msgspec.to_builtins(event_trace))
    else:
        _show(event_trace)
    if not any((event_trace.requests, event_trace.decisions, event_trace.feedback, event_trace.dead_letters)):
        complain(f"trace: found nothing under the event id {event_id}, expected a request, a decision or feedback")
        raise typer.Exit(DOES_NOT_HOLD)


def _show(event_trace: "Trace") -> None:
    from replay.proof.trace import where

    for request in event_trace.requests:
        _line(request.position.time_ms, "request", f"{where(request.position)}  {request.message}")
    for decision in event_trace.decisions:
        _show_decision(event_trace, decision)
    for feedback in event_trace.feedback:
        _show_feedback(feedback)
    for letter in event_trace.dead_letters:
        _line(letter.position.time_ms, "dead letter", f"{where(letter.position)}  {letter.message}")


def _show_decision(event_trace: "Trace", decision: "TracedDecision") -> None:
    from bowerbird.status.alarms import named
    from replay.proof.trace import where
    from rewards.watermark import INPUTS

    _line(
        decision.position.time_ms,
        "decision",
        f"{where(decision.position)}  {decision.chosen} (propensity {decision.propensity:.4g}),"
        f" by {decision.policy} version {decision.policy_version}",
    )
    for copy in decision.copies:
        _line(copy.time_ms, "copy", f"{where(copy)}  a further decision under this event id")
    for feedback in decision.feedback:
        _show_feedback(feedback)
    outcome = decision.outcome
    if outcome is not None:
        early = decision.deadline_ms < decision.full_ms
        in_full = f", instead of {_clock(decision.full_ms)}" if early else ""
        _line(outcome.closed_ms, "closed", f"{outcome.why}{in_full}")
        _line(
            outcome.position.time_ms,
            "outcome",
            f"{where(outcome.position)}  reward {outcome.reward:g}, seq {outcome.outcome_seq} of shard {outcome.shard}",
        )
        if (outcome.reward, outcome.why) != (decision.reward, decision.why):
            say(f"{'':14}but the streams give {decision.why} and reward {decision.reward:g}: run `bowerbird verify`")
        say(f"{'':14}{'learning':<12}{outcome.message}")
    elif decision.closed:
        _line(decision.deadline_ms, "closed", f"{decision.why}, reward {decision.reward:g}; its outcome is on its way")
    else:
        say(f"{'':14}{'open':<12}until {_clock(decision.deadline_ms)}; so far the reward is {decision.reward:g}")
        by = (
            "its list of inputs, in which it looks for new partitions"
            if event_trace.held_by == INPUTS
            else named(event_trace.held_by)
        )
        say(f"{'':26}the join has read to {_clock(event_trace.watermark_ms)}, held back by {by}")


def _show_feedback(feedback: "TracedFeedback") -> None:
    from replay.proof.trace import where

    _line(feedback.position.time_ms, "feedback", f"{where(feedback.position)}  {feedback.message}")


def _line(time_ms: int, what: str, text: str) -> None:
    say(f"{_clock(time_ms)}  {what:<12}{text}")


def _clock(time_ms: int) -> str:
    """Return the time of day of a log time, in UTC."""
    return moment(time_ms, "%H:%M:%S.%f").removesuffix("000")
