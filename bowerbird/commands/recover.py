"""``bowerbird recover``."""

import time
from typing import TYPE_CHECKING, Any

from bowerbird.commands.record_options import with_record_options
from bowerbird.commands.shared import ArchiveFolder, AsJson, ConfigFile, answer, run, say, settings
from bowerbird.commands.verify import opened, progress_bar
from bowerbird.recovery.options import RecoverOptions

if TYPE_CHECKING:
    from bowerbird.recovery.recover import Recovered


@with_record_options()
def recover(
    options: RecoverOptions, archive: ArchiveFolder = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Compute again from the logs what Redis has forgotten: the join's state, and each policy that cannot go on.

    Files of the archive that are another topic's (it was deleted and created again) are set aside, in the archive.

    The roles may run: they wait until it has finished, then go on by themselves. Run it again if it was stopped.

    Example: bowerbird recover --dry-run

    Example: bowerbird recover --archive archive/
    """
    from bowerbird.recovery.logs import LogAccess
    from bowerbird.recovery.recover import recover as recovered

    loop_config = settings(config)
    kept = opened(loop_config, archive)
    with progress_bar() as progress:
        done = run(
            loop_config,
            lambda: recovered(loop_config, time.time_ns() // 1_000_000, options, LogAccess(kept, progress)),
        )
    if as_json:
        answer(_as_json(done))
    else:
        _tell(done, options.dry_run)


def _as_json(done: "Recovered") -> dict[str, Any]:
    import msgspec

    versions = {name: each.version.version for name, each in done.rebuilt.items()}
    archive = {"needed": done.archive_needed, "moved_to": done.archive_moved_to}
    return {"join": msgspec.to_builtins(done.join), "refused": done.refused, "rebuilt": versions, "archive": archive}


def _tell(done: "Recovered", dry_run: bool) -> None:
    join = done.join
    for sentence in join.needed:
        say(f"join: {sentence}")
    if join.from_ms is None:
        say("join: its state is sound")
    else:
        would = "would read" if dry_run else "read"
        say(f"join: {would} {join.messages} messages of its inputs; {join.unfinished} decisions may lack an outcome")
        if not dry_run:
            say(f"join: {join.pending} decisions wait for feedback, {join.remembered} that have closed are remembered")
    for sentence in join.gone:
        say(f"join: gone for good: {sentence}; outcomes may lack feedback")
    for name, sentence in done.refused.items():
        say(f"policy {name}: {sentence}")
        if name in done.rebuilt:
            say(f"policy {name}: version {done.rebuilt[name].version.version} is computed from the log and published")
            if gone := done.rebuilt[name].gone:
                say(f"policy {name}: gone for good: what was learned from outcomes that are no longer there: {gone}")
        else:
            say(f"policy {name}: would be rebuilt")
    for sentence in done.archive_needed:
        say(f"archive: {sentence}")
    if done.archive_needed:
        to = f"are in {done.archive_moved_to} now" if done.archive_moved_to else "would be set aside"
        say(f"archive: its old files {to}; it begins anew with what Kafka holds")
    if dry_run:
        say("nothing was changed")
