"""``bowerbird verify``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    ArchiveFolder,
    AsJson,
    ConfigFile,
    answer,
    complain,
    errors_in_words,
    run,
    say,
    settings,
)

if TYPE_CHECKING:
    from archive.reader import Archive
    from replay.proof.recompute import Recomputed
    from replay.proof.verdict import Verdict
    from stream.config import Config

Progress = Callable[[str, int, int], None]


def verify(
    policy: Annotated[str | None, typer.Argument(metavar="POLICY", help="A policy of the configuration.")] = None,
    decision: Annotated[str | None, typer.Option(metavar="EVENT_ID", help="Decide one logged decision again.")] = None,
    archive: ArchiveFolder = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Prove from the logs that every outcome is right, and that the live weights are what the log makes of them.

    Rewards are computed again from the raw streams, every version is learned again. With --decision the version that
    decided is rebuilt, and pmf and draw must be the logged ones, bit for bit.

    Example: bowerbird verify front --json

    With --archive, what retention has removed from Kafka is read from Parquet. Feedback is in no archive: where it is
    gone, rewards are computed again from what each outcome carries, and the verdict says for how many.

    Example: bowerbird verify --decision 3f2a90

    Example: bowerbird verify front --archive archive/
    """
    loop_config = settings(config)
    if decision is not None and policy is None:
        holds = _decision(loop_config, decision, archive, as_json)
    elif policy is not None and decision is None:
        holds = _policy(loop_config, policy, archive, as_json)
    else:
        complain("verify: expected either a POLICY or --decision EVENT_ID")
        raise typer.Exit(WRONG_USE)
    raise typer.Exit(0 if holds else DOES_NOT_HOLD)


def _policy(config: "Config", name: str, archive: str | None, as_json: bool) -> bool:
    import msgspec

    from bowerbird.verification import verify as verified

    kept = opened(config, archive)
    with progress_bar() as progress:
        verdict = run(config, lambda: verified(config, name, progress, archive=kept))
    if as_json:
        answer(msgspec.to_builtins(verdict))
    else:
        _show(verdict)
    return verdict.ok


def _show(verdict: "Verdict") -> None:
    closed = ", ".join(f"{count} {why}" for why, count in verdict.closed.items())
    say(f"policy       {verdict.policy}")
    say(f"decisions    {verdict.decisions} ({verdict.external} of another system; {verdict.copies} further copies)")
    say(f"outcomes     {verdict.outcomes}" + (f" ({closed})" if closed else ""))
    if verdict.own_feedback:
        say(f"of these     {verdict.own_feedback} by the feedback that they carry, since the streams have lost theirs")
    for name in ("learned", "waiting", "refused", "held", "taken_back"):
        say(f"{name.replace('_', ' '):<12} {getattr(verdict, name)}")
    for name in ("pending", "missing", "doubled", "wrong", "repeats"):
        say(f"{name:<12} {getattr(verdict, name)}")
    if verdict.not_verifiable:
        say(f"unproved     {verdict.not_verifiable}, since their topics hold no more what was counted")
    say(f"versions     {verdict.versions}, the live one is {verdict.live_version}")
    say(f"live         {verdict.live_digest}")
    say(f"recomputed   {verdict.recomputed_digest}" + ("  identical" if verdict.identical else "  NOT identical"))
    for finding in verdict.findings:
        say(f"{finding.kind}: {finding.where}: {finding.message}")
    for kind, count in verdict.found.items():
        if (hidden := count - sum(finding.kind == kind for finding in verdict.findings)) > 0:
            say(f"{kind}: {hidden} more")
    say("all is right" if verdict.ok else "NOT all is right")


def _decision(config: "Config", event_id: str, archive: str | None, as_json: bool) -> bool:
    import msgspec

    from bowerbird.verification import verify_decision

    kept = opened(config, archive)
    with progress_bar() as progress:
        decisions = run(config, lambda: verify_decision(config, event_id, progress, kept))
    if as_json:
        answer({"event_id": event_id, "ok": _all_hold(decisions), "decisions": msgspec.to_builtins(decisions)})
        return _all_hold(decisions)
    if not decisions:
        complain(f"decision: found none with the event id {event_id} in {config.topic('decisions')}")
    for each in decisions:
        position = each.position
        say(f"decision {each.event_id} of policy {each.policy}, version {each.policy_version}")
        offset, item = position.offset, position.index
        say(f"at {position.topic}[{position.partition}] offset {offset}, item {item}, log time {position.time_ms}")
        for part in each.parts:
            mark = "identical" if part.identical else "NOT identical"
            say(f"{part.name:<12} {mark}: {part.logged}" + ("" if part.identical else f" / {part.recomputed}"))
        say("the same bit for bit" if each.ok else f"NOT the same: {each.reason}")
    return _all_hold(decisions)


def opened(config: "Config", url: str | None) -> "Archive | None":
    """Return the archive that ``--archive`` names; ends the command where it cannot be read."""
    if url is None:
        return None
    from records.extras import needed_by

    with errors_in_words(config):
        with needed_by("--archive", "archive"):
            from archive.reader import Archive

        return Archive.at(url, config.prefix)


def _all_hold(decisions: "list[Recomputed]") -> bool:
    return bool(decisions) and all(each.ok for each in decisions)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show how far the logs have been read, on the standard error stream and only to a person."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task("reading", total=None)

        def show_progress(topic: str, passed: int, of: int) -> None:
            bar.update(task, description=topic, completed=passed, total=of)

        yield show_progress
