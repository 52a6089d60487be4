"""The settings that ``bowerbird up`` runs with: the user's own or built-in ones, on the addresses of its servers."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bowerbird.settings.reading import DEFAULT_FILE, find_file
from bowerbird.settings.toml_lines import key_lines
from bowerbird.settings.tree import elsewhere
from records.errors import WrongConfiguration
from stream.config import Config

MARK = "# Kept by `bowerbird up`, which writes the addresses below at each start. The rest is yours to change."
ADDRESSES = ("brokers", "redis_url")
BUILT_IN = """\
request_ttl_ms = 5000
session_timeout_s = 6.0      # a worker that was killed is replaced after so long

[policies.front]
kind = "vw"
arguments = "--cb_explore_adf --epsilon 0.2 -q uA --learning_rate 1"

[placements.front]
window_s = 20                # feedback counts for 20 seconds; a service waits longer

[placements.front.reward]
close_on = ["clicks", "purchases", "leaves"]   # these end the waiting: what they teach acts within a second or two

[placements.front.reward.streams.views]
weight = 0.0                 # seen, and no more

[placements.front.reward.streams.leaves]
weight = 0.0                 # the person has left without a click

[placements.front.reward.streams.clicks]
weight = 1.0
aggregate = "max"            # two clicks are worth one

[placements.front.reward.streams.purchases]
value = true                 # a purchase is worth its own value
"""
ARCHIVE = """
[archive]
url = {url}
max_s = 10.0                 # what happened can be read from files so much later
"""


class Settings(NamedTuple):
    """A TOML document, and the file that it comes from; None: the built-in one."""

    document: str
    file: Path | None


def chosen(given: Path | None, kept: Path | None, environment: Mapping[str, str]) -> Settings:
    """Return the settings to run with.

    Parameters
    ----------
    given
        What the command line names; it comes first.
    kept
        Where an earlier start kept its settings; None: nothing is kept. Then the file that every command would use,
        then :data:`BUILT_IN`.

    Raises
    ------
    WrongConfiguration
        The folder holds settings that no earlier start has written, or a file cannot be read.
    """
    if kept is not None and kept.exists() and not _read(kept, environment).startswith(MARK):
        raise WrongConfiguration(
            f"--dir: found a {kept.name} in {kept.parent} that `bowerbird up` has not written, expected a folder of its"
            f" own; name another folder, and this file by --config {kept}"
        )
    if given is None and kept is not None and kept.exists():
        return Settings(_read(kept, environment), kept)
    path = find_file(given, environment)
    return Settings(built_in(kept), None) if path is None else Settings(_read(path, environment), path)


def built_in(kept: Path | None) -> str:
    """Return the built-in settings; what is kept is archived, too, where the package that this needs is installed."""
    if kept is None or find_spec("pyarrow") is None:
        return BUILT_IN
    return BUILT_IN + ARCHIVE.format(url=json.dumps(str(kept.parent.resolve() / "archive")))


def without_addresses(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what would name other servers, or other settings."""
    names = {f"BOWERBIRD_{name.upper()}" for name in ADDRESSES} | {"BOWERBIRD_CONFIG"}
    return {name: value for name, value in environment.items() if name not in names}


def on_servers(document: str, brokers: str, redis_url: str) -> str:
    r"""Return a TOML document with its addresses replaced by these.

    >>> text = on_servers('prefix = "a-"  # ours\nbrokers = "far:9092"\n', "127.0.0.1:1", "redis://127.0.0.1:2/0")
    >>> print("\n".join(text.splitlines()[1:]))
    brokers = "127.0.0.1:1"
    redis_url = "redis://127.0.0.1:2/0"
    prefix = "a-"  # ours
    """
    lines = key_lines(document)
    dropped = {lines[name,] for name in ADDRESSES if (name,) in lines}
    kept = [
        line for number, line in enumerate(document.splitlines(), 1) if number not in dropped and line.strip() != MARK
    ]
    addresses = zip(ADDRESSES, (brokers, redis_url), strict=True)
    return "\n".join([MARK, *(f"{name} = {json.dumps(value)}" for name, value in addresses), *kept]) + "\n"


class Example(NamedTuple):
    """What to send to see the loop turn, as JSON: a request, feedback on its decision, the next request."""

    stream: str
    request: str
    feedback: str
    next_request: str


def example(config: Config, name: str) -> Example | None:
    """Return records that fit the settings; None where no placement has a stream.

    Parameters
    ----------
    name
        Begins the event ids.
    """
    for placement, configured in config.placements.items():
        worth = [stream for stream, reward in configured.reward.streams.items() if reward.value or reward.weight]
        # What also ends the waiting shows soonest.
        streams = [stream for stream in worth if stream in configured.reward.close_on] or worth
        if streams:
            stream = "clicks" if "clicks" in streams else streams[0]
            value = {"value": 1} if configured.reward.streams[stream].value else {}
            feedback = {"event_id": f"{name}-1", "id": "1", **value}
            return Example(
                stream, _request(placement, f"{name}-1"), json.dumps(feedback), _request(placement, f"{name}-2")
            )
    return None


def _request(placement: str, event_id: str) -> str:
    actions = [{"id": action} for action in ("boots", "hat", "scarf")]
    return json.dumps(
        {"event_id": event_id, "placement": placement, "context": {"user": {"city": "Lyon"}}, "actions": actions}
    )


def _read(file: Path, environment: Mapping[str, str]) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        expected = DEFAULT_FILE + (f"; {variable}" if (variable := elsewhere(file, environment)) else "")
        raise WrongConfiguration(f"{file}: found a file that can't be read ({why}), expected {expected}") from None
