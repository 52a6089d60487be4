"""``bowerbird policy``: what has been learned and published, and the switches of an operator."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import to_builtins

from bowerbird.commands.record_options import with_record_options
from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    AsJson,
    ConfigFile,
    answer,
    complain,
    errors_in_words,
    run,
    say,
    settings,
)
from bowerbird.commands.tables import Fitted
from records.described import Described

if TYPE_CHECKING:
    from bowerbird.recovery.logs import Progress
    from bowerbird.recovery.rebuild import Done
    from policies.controls import Control
    from policies.policy_store import Saved
    from records.policy_version import PolicyVersion
    from stream.config import Config

Name = Annotated[str, typer.Argument(metavar="NAME", help="A policy of the configuration.")]

app = typer.Typer(
    no_args_is_help=True,
    help="""Show what has been learned and published; stop and start learning.

    Example: bowerbird policy list
    """,
)


@app.command("list")
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the policies: version in use, cut, digest, examples, last publish.

    Example: bowerbird policy list --json
    """
    from stream.redis.saved_policies import saved_policies

    loop_config = settings(config)
    saved = run(loop_config, lambda: saved_policies(loop_config))
    described = [_described(loop_config, name, each) for name, each in saved.items()]
    if as_json:
        answer(described)
        return
    _table(
        [("policy", "name"), ("kind", "kind"), *_COLUMNS],
        [{**each, "published": _ago(each["published_ms"]), "digest": each["digest"][:8]} for each in described],
    )


@app.command()
def show(
    name: Name,
    config: ConfigFile = None,
    as_json: AsJson = False,
    newest: Annotated[int, typer.Option(min=1, help="Show so many of its newest versions.")] = 20,
) -> None:
    """Show one policy and the versions it had.

    Example: bowerbird policy show front --newest 5
    """
    from stream.redis.saved_policies import saved_policies, versions_of

    loop_config = _settings_with(name, config)
    saved = run(loop_config, lambda: saved_policies(loop_config))
    versions = run(loop_config, lambda: versions_of(loop_config, name, newest, saved[name]))
    described = _described(loop_config, name, saved[name])
    described["versions"] = [_version(each) for each in versions]
    if as_json:
        answer(described)
        return
    for key in ("name", "kind", "arguments", "salt", "partition", "version", "cut", "examples", "digest"):
        say(f"{key:<10} {described[key]}")
    say(f"{'published':<10} {_ago(described['published_ms'])}")
    say()
    _table(
        _COLUMNS,
        [
            {**each, "published": _ago(each["published_ms"]), "digest": each["digest"][:8]}
            for each in described["versions"]
        ],
    )


@app.command()
def freeze(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Stop learning: the weights stay as they are, and go on deciding. For a stream that lies.

    It is a version of its own, and acts in every decide worker within two seconds. Whatever no version has learned yet
    is never learned, until `bowerbird policy unfreeze NAME`.

    Example: bowerbird policy freeze front
    """
    _control(name, "freeze", config, as_json)


@app.command()
def uniform(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Stop learning, and decide uniformly: every action alike. For weights that lie.

    The weights are kept; `bowerbird policy unfreeze NAME` brings them back, and learning with them.

    Example: bowerbird policy uniform front
    """
    _control(name, "uniform", config, as_json)


@app.command()
def unfreeze(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """End a freeze, or uniform deciding: the weights decide, and what is appended from now on is learned.

    Example: bowerbird policy unfreeze front
    """
    _control(name, "unfreeze", config, as_json)


@dataclass(frozen=True, slots=True)
class RebuildLog:
    """What a policy is computed from again."""

    until: Annotated[
        str | None, Described("Learn only what was appended to rewards up to then (ISO 8601, UTC).", "TIME")
    ] = None
    archive: Annotated[str | None, Described("Read from this archive what Kafka has forgotten.", "DIR")] = None
    accept_loss: Annotated[
        bool, Described("Learn again from what is left, where the first outcomes are gone for good.")
    ] = False


@app.command()
@with_record_options()
def rebuild(
    name: Name,
    log: RebuildLog,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Throw the live weights away, and compute them again from the log; repairs a state that a learner refuses.

    The result is the next version. Freeze the policy first where --until takes back what a stream poisoned, else what
    still comes is learned.

    Example: bowerbird policy rebuild front --until 2026-05-04T09:30

    Example: bowerbird policy rebuild front --archive archive/ --yes
    """
    from bowerbird.recovery.logs import LogAccess
    from bowerbird.recovery.rebuild import rebuild as rebuilt

    loop_config = _settings_with(name, config)
    until_ms = _time_ms(log.until) if log.until is not None else None
    kept = None
    if log.archive is not None:
        with errors_in_words(loop_config):
            from archive.reader import Archive

            kept = Archive.at(log.archive, loop_config.prefix)
    if not yes:
        _ask(name, until_ms)
    with _progress() as progress:
        access = LogAccess(kept, progress, log.accept_loss)
        done = run(loop_config, lambda: rebuilt(loop_config, name, _now_ms(), until_ms, access))
    if as_json:
        answer(
            {
                "policy": name,
                **_version(done.version),
                "former_version": done.former.version if done.former else None,
                "compared": done.compared,
                "differing": done.differing,
                "missing": done.missing,
                "gone": done.gone,
            }
        )
    else:
        _tell(name, done)


def _control(name: str, wanted: "Control", file: "ConfigFile", as_json: bool) -> None:
    from stream.controls import Controlled, operator_session

    loop_config = _settings_with(name, file)

    async def controlled() -> Controlled:
        async with operator_session(loop_config, name) as at:
            return await at.control(wanted, _now_ms())

    done = run(loop_config, controlled)
    version = done.version
    if as_json:
        answer({"policy": name, "changed": done.changed, **(_version(version) if version is not None else {})})
        return
    since = version.version if version is not None else "version 0"
    if not done.changed:
        say(f"{name}: nothing to do, {_IN_FORCE[wanted]} since {since}")
        return
    say(f"{name}: {_IN_FORCE[wanted]} from {since} on (offset {version.cut if version else 0} of rewards)")
    if wanted != "unfreeze":
        say(f"`bowerbird policy unfreeze {name}` ends it; `policy rebuild {name} --until TIME` takes back more")


_IN_FORCE = {
    "freeze": "the weights decide, nothing is learned",
    "uniform": "every action alike, nothing is learned",
    "unfreeze": "the weights decide, and it learns",
}


def _ask(name: str, until_ms: int | None) -> None:
    if not sys.stdin.isatty():
        complain("rebuild: found no terminal to ask on, expected --yes")
        raise typer.Exit(WRONG_USE)
    what = f"what was appended up to {_ago(until_ms)}" if until_ms is not None else "the whole log"
    if not typer.confirm(f"Throw the live weights of {name} away, and learn {what} again?", err=True):
        raise typer.Exit(DOES_NOT_HOLD)


def _tell(name: str, done: "Done") -> None:
    from policies.controls import in_force

    version = done.version
    say(f"{name}: version {version.version} is computed from the log and published; it has learned {version.examples}")
    if done.former is not None:
        say(f"before it: {done.former.version}, which had learned {done.former.examples}")
    if done.differing:
        say(f"of {done.compared} versions, the log does not give {', '.join(done.differing[:5])} as published")
    elif done.compared:
        say(f"all {done.compared} versions on the way came out as they were published")
    if done.gone:
        say(f"gone for good: what was learned from outcomes that are no longer there: {done.gone}")
    elif done.missing:
        say(f"{done.missing} outcomes are missing in the log; they are lost")
    if (control := in_force(version.shape)) is not None:
        say(f"{_IN_FORCE[control]}: `bowerbird policy unfreeze {name}` ends it")
    say("where the learn role had stopped, start it again")


def _settings_with(name: str, file: "ConfigFile") -> "Config":
    loop_config = settings(file)
    if name not in loop_config.policies:
        complain(f"policy: found {name}, expected one of {', '.join(loop_config.policies)}")
        raise typer.Exit(WRONG_USE)
    return loop_config


def _time_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        complain(f"--until: found {text!r}, expected a time such as 2026-05-04T09:30 or 2026-05-04T09:30:00+02:00")
        raise typer.Exit(WRONG_USE) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Show how far the log has been read, on the standard error stream and only to a person."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task("learning again", total=None)
        yield lambda topic, passed, of: bar.update(task, description=topic, completed=passed, total=of)


_COLUMNS = [
    ("version", "version"),
    ("by", "by"),
    ("cut", "cut"),
    ("examples", "examples"),
    ("digest", "digest"),
    ("published", "published"),
]


def _described(config: "Config", name: str, saved: "Saved | None") -> dict[str, Any]:
    """Return a policy as Redis has it; version 0 where nothing was published."""
    from policies.policy_store import version_0, version_of
    from records.shape import UNSHAPED
    from stream.config import identity_in

    identity = identity_in(config, name)
    described: dict[str, Any] = {
        "name": name,
        "kind": identity.kind,
        "arguments": identity.arguments,
        "salt": identity.salt,
        "partition": config.learn_partition(name),
        "number": 0,
        "cut": saved.position.cut if saved is not None else 0,
        "last_seqs": dict(saved.position.last_seqs) if saved else {},
        "examples": 0,
        "published_ms": None,
        "control": None,
        "shape": to_builtins(UNSHAPED),
        "rebuilt_to": None,
        "by": "arguments",
    }
    if saved is not None and saved.record is not None:
        # The position moves on without a version when there was nothing to learn.
        return described | _version(version_of(name, saved.record)) | {"cut": saved.position.cut}
    first, _ = version_0(identity.make)
    return described | {"version": first.version, "digest": first.digest}


def _version(version: "PolicyVersion") -> dict[str, Any]:
    from policies.controls import made_by

    return {
        "number": version.number,
        "version": version.version,
        "cut": version.cut,
        "last_seqs": version.last_seqs,
        "examples": version.examples,
        "digest": version.digest,
        "published_ms": version.published_ms,
        "control": version.control,
        "shape": to_builtins(version.shape),
        "rebuilt_to": version.rebuilt_to,
        "by": made_by(version),
    }


def _ago(published_ms: int | None) -> str:
    if published_ms is None:
        return "never"
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(published_ms / 1000))
    return f"{moment} UTC"


def _table(columns: list[tuple[str, str]], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console

    cells = [[str(row[key]) for _, key in columns] for row in rows]
    titles = [f">{title}" if title in ("cut", "examples") else title for title, _ in columns]
    # The version holds the first digits of the digest.
    Console().print(Fitted(titles, cells, ("digest", "cut", "kind", "by", "published")))
