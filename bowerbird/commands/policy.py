"""``bowerbird policy``: what has been learned and published."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bowerbird.commands.shared import DOES_NOT_HOLD, AsJson, ConfigFile, answer, complain, run, say, settings

if TYPE_CHECKING:
    from rewards.records import PolicyVersion
    from stream.config import Config
    from stream.publish import Saved

app = typer.Typer(
    no_args_is_help=True,
    help="""Show what has been learned and published.

    Example: bowerbird policy list
    """,
)


@app.command("list")
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the policies: version in use, cut, digest, examples, last publish.

    Example: bowerbird policy list --json
    """
    from stream.published import saved_policies

    told = settings(config)
    saved = run(told, lambda: saved_policies(told))
    found = [_described(told, name, each) for name, each in saved.items()]
    if as_json:
        answer(found)
        return
    _table(
        [("policy", "name"), ("kind", "kind"), *_COLUMNS],
        [{**each, "published": _ago(each["published_ms"]), "digest": each["digest"][:8]} for each in found],
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A policy of the configuration.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
    newest: Annotated[int, typer.Option(min=1, help="Show so many of its newest versions.")] = 20,
) -> None:
    """Show one policy and the versions it had.

    Example: bowerbird policy show front --newest 5
    """
    from stream.published import saved_policies, versions_of

    told = settings(config)
    if name not in told.policies:
        complain(f"policy: found {name}, expected one of {', '.join(told.policies)}")
        raise typer.Exit(DOES_NOT_HOLD)
    saved = run(told, lambda: saved_policies(told))
    versions = run(told, lambda: versions_of(told, name, newest))
    described = _described(told, name, saved[name])
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


_COLUMNS = [
    ("version", "version"),
    ("cut", "cut"),
    ("examples", "examples"),
    ("digest", "digest"),
    ("published", "published"),
]


def _described(config: "Config", name: str, saved: "Saved | None") -> dict[str, Any]:
    """Return a policy as Redis has it; version 0 where nothing was published."""
    from policies.policy import digest, make, version_name
    from stream.publish import version_of

    told = config.policies[name]
    described: dict[str, Any] = {
        "name": name,
        "kind": told.kind,
        "arguments": told.arguments,
        "salt": config.salt(name),
        "partition": config.rewards_partition(name),
        "number": 0,
        "cut": saved.position.cut if saved is not None else 0,
        "last_seqs": {str(shard): seq for shard, seq in saved.position.last_seqs.items()} if saved else {},
        "examples": 0,
        "published_ms": None,
    }
    if saved is not None and saved.record is not None:
        # The position moves on without a version when there was nothing to learn.
        return described | _version(version_of(name, saved.record)) | {"cut": saved.position.cut}
    policy = make(told.kind, told.arguments)
    try:
        first = digest(policy.dump())
    finally:
        policy.close()
    return described | {"version": version_name(0, first), "digest": first}


def _version(version: "PolicyVersion") -> dict[str, Any]:
    return {
        "number": version.number,
        "version": version.version,
        "cut": version.cut,
        "last_seqs": version.last_seqs,
        "examples": version.examples,
        "digest": version.digest,
        "published_ms": version.published_ms,
    }


def _ago(published_ms: int | None) -> str:
    if published_ms is None:
        return "never"
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(published_ms / 1000))
    return f"{moment} UTC"


def _table(columns: list[tuple[str, str]], rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*(title for title, _ in columns), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(str(row[key]) for _, key in columns))
    Console().print(table)
