"""`request`, `send`, `trace` and `dead-letters` on a running loop."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from typer.testing import CliRunner

from bowerbird.cli import app
from bowerbird.settings import load
from bowerbird.supervisor import Supervisor
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from stream.config import Config
from stream.kafka import topics
from stream.kafka.send import Outgoing, send
from tests.real.asking import request
from tests.real.loop import loop_of, until
from tests.serving import split

RUNNER = CliRunner()


@pytest.fixture
def file(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, prefix: str, tmp_path: Path) -> Path:
    streams = {"views": {"weight": 0.0}, "clicks": {"weight": 1.0}}
    policy = {
        "kind": "vw",
        "arguments": "--cb_explore_adf --epsilon 0.2",
        "window_s": 600.0,
        "publish_ms": 100,
        "reward": {"close_on": ["clicks"], "streams": streams},
    }
    settings = {
        "brokers": kafka.address,
        "redis_url": redis_server.url,
        "prefix": prefix,
        "session_timeout_s": 2.0,
        "early_s": 1.0,
        **split({"front": policy}),
    }
    made = tmp_path / "bowerbird.toml"
    made.write_text(tomli_w.dumps(settings))
    return made


class Commands:
    """Runs commands with the settings of one file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def run(self, *arguments: str, stdin: str | bytes = "", code: int = 0) -> str:
        """Run a command, and return what it wrote."""
        # In this process: a start of Python for each would take most of the time.
        done = await asyncio.to_thread(RUNNER.invoke, app, [*arguments, "--config", str(self._file)], stdin)
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    async def run_json(self, *arguments: str, stdin: str | bytes = "", code: int = 0) -> Any:
        """Run a command with ``--json``, and return the parsed output."""
        return json.loads(await self.run(*arguments, "--json", stdin=stdin, code=code))

    async def until_letters(self, count: int) -> list[Any]:
        """Wait for so many dead letters, and return them."""

        async def there() -> Any:
            groups = await self.run_json("dead-letters", "list")
            return sum(group["count"] for group in groups) >= count

        await until(there)
        letters: list[Any] = await self.run_json("dead-letters", "show", "--limit", "99")
        return letters


async def test_without_a_worker(file: Path, tmp_path: Path) -> None:
    commands = Commands(file)
    no_topic = await commands.run("send", "clicks", "-", stdin='{"event_id":"a"}', code=2)
    assert "topics create" in no_topic
    config = load(file, {})
    await topics.create(config)
    late = await commands.run("request", "-", "--timeout", "0.5", stdin=json.dumps(request("visit-1")), code=1)
    assert "found no reply within 0.5 s" in late
    assert "nothing under the event id nobody" in await commands.run("trace", "nobody", code=1)
    assert await commands.run_json("dead-letters", "list") == []
    assert "no such dead letter" in await commands.run("dead-letters", "show", "0@7", code=1)
    assert "expected LETTER" in await commands.run("dead-letters", "resend", code=2)
    # What is wrong is reported with its place, and nothing is sent.
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"event_id": "a"}\n{"event_id": 5}\n')
    assert "record 2: event_id" in await commands.run("send", "clicks", str(wrong), code=2)
    wrong.write_text('{"event_id": "a"}\n{"event_id": \n')
    assert "line 2" in await commands.run("send", "clicks", str(wrong), code=2)
    assert "clicks, views" in await commands.run("send", "orders", str(wrong), code=2)
    assert "can't be read" in await commands.run("request", str(tmp_path / "none"), code=2)
    async with loop_of(config) as loop:
        assert await loop.records("clicks") == []

    await letters_of_others_are_shown_as_what_they_are(commands, config)
    await what_waits_is_interrupted(file, config)


async def what_waits_is_interrupted(file: Path, config: Config) -> None:
    """Ctrl-C: exit code 130 and not a word, from the midst of waiting for Kafka."""
    waiting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bowerbird", "request", "-", "--timeout", "60", "--config", str(file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert waiting.stdin is not None
    waiting.stdin.write(json.dumps(request("visit-2")).encode())
    waiting.stdin.close()
    async with loop_of(config) as loop:

        async def asked() -> bool:
            return "visit-2" in {each["event_id"] for each in await loop.records("decision-requests")}

        await until(asked)
    waiting.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(waiting.communicate(), 30) == (b"", b"")
    assert waiting.returncode == 130


async def letters_of_others_are_shown_as_what_they_are(commands: Commands, config: Config) -> None:
    """Another program has written into `dead-letters`: nothing is hidden, and nothing is called a tombstone."""
    topic = config.topic("dead-letters")
    headers = [("topic", b"clicks"), ("partition", b"minus one"), ("reason", b"a\x1b[1m"), ("tombstone", b"true")]
    await send(config, [Outgoing(topic, b"hello", None, headers), Outgoing(topic, b"bare"), Outgoing(topic, None, b"")])
    listed = await commands.run("dead-letters", "list")
    assert "no reason            from an unknown place" in listed
    shown = await commands.run("dead-letters", "show")
    assert "tombstone" not in shown
    assert "the header `partition` holds 'minus one', expected a number" in shown
    assert {"hello", "bare", "a message without a value"} <= {line.strip() for line in shown.splitlines()}
    letters = await commands.run_json("dead-letters", "show")
    assert {each["value"] for each in letters} == {"hello", "bare", None}
    assert all("no header `offset`" in each["problem"] for each in letters)
    done = await commands.run("dead-letters", "resend", "--all")
    assert done.count("its headers do not say where it came from") == 3

    # With all headers of ours, and nonsense in them.
    wild: list[tuple[str, bytes]] = [
        ("topic", b"\xff\x1b[2J"),
        ("partition", b"9" * 19),
        ("offset", b"9" * 19),
        ("index", b"0"),
        ("reason", b"\x1b[31mred\xff"),
        ("message", b"\x1b]0;title\x07"),
        ("source-hex-zz", b""),
    ]
    value = b'{"event_id": "visit-9", "nested": [[[{}]]], "n": 1e999}'
    elsewhere = [(name, config.topic("clicks").encode() if name == "topic" else content) for name, content in wild]
    await send(config, [Outgoing(topic, value, b"\xff", wild), Outgoing(topic, b"[" * 5000, b"visit-9", elsewhere)])
    for arguments in (["dead-letters", "list"], ["dead-letters", "show"], ["trace", "visit-9"]):
        text = await commands.run(*arguments)
        assert "red" in text
        assert not {"\x1b", "\x07"} & set(text), arguments
    assert len((await commands.run_json("trace", "visit-9"))["dead_letters"]) == 1
    assert len(await commands.run_json("dead-letters", "show")) == 5
    done = await commands.run("dead-letters", "resend", "--all", "--dry-run")
    assert "1 to be sent, 4 not sent" in done
    assert "is no stream of the configuration" in done
    status = await commands.run_json("status", code=1)
    assert sum(status["dead_letters"].values()) == 5
    assert "5 records could not be used" in " ".join(status["notes"])
    assert not {"\x1b", "\x07"} & set(await commands.run("status", code=1))


async def test_the_life_of_a_decision(file: Path, tmp_path: Path) -> None:
    commands, config = Commands(file), load(file, {})
    await topics.create(config)
    async with Supervisor(config, config.roles, file) as supervisor:
        await supervisor.until_ready()
        one = await commands.run_json("request", "-", stdin=json.dumps(request("visit-1")))
        shown = await commands.run("request", "-", stdin=json.dumps(request("visit-2")))
        misspelt = json.dumps(request(None) | {"contextFeatures": {}})
        assert "did you mean context?" in await commands.run("request", "-", stdin=misspelt)
        refused = await commands.run("request", "-", "--strict", stdin=misspelt, code=2)
        assert "contextFeatures: found an unknown field" in refused
        await commands.run("request", "-", "--strict", stdin=json.dumps(request(None)))
        both = await commands.run_json("request", "-", stdin=json.dumps([request(None), {"placement": "none"}]), code=1)
        events = tmp_path / "events.jsonl"
        events.write_text('{"event_id": "visit-1", "id": "v1"}\n\n{"event_id": "visit-1", "id": "v1"}\n')
        await commands.run("send", "views", str(events))
        await commands.run("send", "clicks", "-", stdin='[{"event_id": "visit-1", "id": "c1"}]')
        await commands.run("send", "clicks", "-", stdin='{"event_id": "visit-1", "id": "c2"}')

        async def learned() -> Any:
            (decision,) = (await commands.run_json("trace", "visit-1"))["decisions"]
            return decision if decision["outcome"] and decision["outcome"]["fate"] == "learned" else None

        life = await until(learned)
        await commands.until_letters(2)
        text = await commands.run("trace", "visit-1")
        whole = await commands.run_json("trace", "visit-1")
        by_place = await commands.run_json("trace", both[0]["event_id"])
        versions = (await commands.run_json("policy", "show", "front"))["versions"]
        still_open = await commands.run("trace", "visit-2")
        await send(config, [Outgoing(config.topic("decision-requests"), json.dumps(request("visit-3")).encode())])
        silent = await commands.run_json("trace", "visit-3")
    assert one["chosen"] in {"a0", "a1", "a2"}
    assert f"for visit-2, by front version {one['policy_version']}" in shown
    assert both[1]["error"]["code"] == "no_actions"
    outcome = life["outcome"]
    assert outcome["version"] == versions[-1]["version"]
    assert (life["policy_version"], life["chosen"]) == (one["policy_version"], one["chosen"])
    assert (
        (outcome["reward"], outcome["why"], outcome["outcome_seq"])
        == (life["reward"], life["why"], 1)
        == (1.0, "early", 1)
    )
    feedback = [(each["position"]["topic"], each["id"], each["verdict"], each["closes"]) for each in life["feedback"]]
    assert sorted(feedback) == [
        ("clicks", "c1", "counts", True),
        ("clicks", "c2", "late", False),
        ("views", "v1", "counts", False),
        ("views", "v1", "repeat", False),
    ]
    assert len(whole["requests"]) == 1
    assert [letter["message"].partition(":")[0] for letter in whole["dead_letters"]] == ["late"]
    for part in (
        "request",
        "and closes the window",
        "repeats views",
        "after the window closed",
        "learned by version 1-",
    ):
        assert part in text
    # A request without an event id is found by the id that decide made for it.
    assert len(by_place["requests"]) == 1
    assert by_place["requests"][0]["message"].endswith(f"; reply: asked for on {config.topic('replies.command')}")
    assert silent["requests"][0]["message"].endswith("; reply: none asked for")
    assert "open" in still_open
    assert "held back by" in still_open
    assert "held back by *" not in still_open


async def letters_by_reason(commands: Commands, count: int) -> dict[str, Any]:
    return {letter["reason"]: letter for letter in await commands.until_letters(count)}


async def test_dead_letters_are_listed_shown_and_sent_again_once(file: Path) -> None:
    commands, config = Commands(file), load(file, {})
    await topics.create(config)
    async with Supervisor(config, config.roles, file) as supervisor:
        await supervisor.until_ready()
        await commands.run("send", "clicks", "-", stdin='{"event_id": "visit-1", "id": "c1"}')
        await commands.run("send", "clicks", "-", "--unchecked", stdin='{"event_id": 5, "red": "\u009b31m"}')
        await commands.run("request", "-", stdin='{"placement": "none", "actions": [{"id": "a"}]}', code=1)
        letters = await letters_by_reason(commands, 3)
        groups = await commands.run_json("dead-letters", "list")
        listed = await commands.run("dead-letters", "list")
        shown = await commands.run("dead-letters", "show", letters["invalid_field"]["letter"])
        only = await commands.run_json("dead-letters", "show", "--topic", "decision-requests")
        # The repair: the decision that the click waited for in vain is there now.
        await commands.run("request", "-", stdin=json.dumps(request("visit-1")))
        for option in ("--reason", "--topic"):
            refused = await commands.run("dead-letters", "resend", option, "bogus", code=2)
            assert f"{option}: found bogus, expected one that dead letters have: " in refused
            assert ("invalid_field" if option == "--reason" else "decision-requests") in refused
        assert "no dead letter 0@99999" in await commands.run("dead-letters", "resend", "0@99999", code=1)
        assert "--reason: found bogus" in await commands.run("dead-letters", "show", "--reason", "bogus", code=2)
        planned = await commands.run_json("dead-letters", "resend", "--all", "--dry-run")
        first = await commands.run_json("dead-letters", "resend", "--all")
        second = await commands.run_json("dead-letters", "resend", "--all")

        async def closed() -> Any:
            (decision,) = (await commands.run_json("trace", "visit-1"))["decisions"]
            return decision["outcome"]

        outcome = await until(closed)
        await letters_by_reason(commands, 4)
        third = await commands.run_json("dead-letters", "resend", "--all")
        fourth = await commands.run_json("dead-letters", "resend", "--reason", "invalid_field", "--returned")
        await resent_as_marked(config)
    assert sorted((group["reason"], group["topic"], group["count"]) for group in groups) == [
        ("invalid_field", "clicks", 1),
        ("unknown_decision", "clicks", 1),
        ("unknown_placement", "decision-requests", 1),
    ]
    assert "unknown_decision     from clicks" in listed
    assert json.loads(letters["unknown_decision"]["value"]) == {"event_id": "visit-1", "id": "c1"}
    assert [letter["reason"] for letter in only] == ["unknown_placement"]
    # What would act on a terminal is escaped.
    assert "\u009b" not in shown
    assert "\\x9b31m" in shown
    sendable = sorted(letters[reason]["letter"] for reason in ("unknown_decision", "invalid_field"))
    for done in (planned, first):
        assert sorted(each["letter"] for each in done["sent"]) == sendable
        assert ["nobody waits" in each["why"] for each in done["skipped"]] == [True]
    assert outcome["reward"] == 1.0
    assert second["sent"] == []
    assert third["sent"] == []
    assert sorted(each["why"].partition(" (")[0] for each in third["skipped"]) == [
        "came back after it was sent again",
        "nobody waits for the answer to this request",
        "was sent again before",
        "was sent again before",
    ]
    assert len(fourth["sent"]) == 1


async def resent_as_marked(config: Config) -> None:
    """Every record that was sent again names its first coming, which is another place."""
    async with loop_of(config) as loop:
        marks = []
        for partition in range(config.partitions):
            topic = config.topic("clicks")
            async for message in loop.reader.read(topic, partition, 0):
                marks += [(message, content.decode()) for name, content in message.headers if name == "resent"]
    assert len(marks) == 3
    for message, mark in marks:
        source, came_in, at, index, _ = mark.split()
        assert (source, index) == (message.topic, "0")
        assert (int(came_in), int(at)) != (message.partition, message.offset)
