"""Learning from joined outcomes of ``rewards``, against VW's own driver over the same examples."""

import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import orjson
import pylibvw

from benchmarks.row import Others, Row, spread
from policies.features import decode_action, decode_context
from policies.learner import Learner
from policies.registry import make
from policies.training import outcomes_in
from policies.vw.text import Writer
from records.limits import Limits

ARGUMENTS = "--cb_explore_adf --epsilon 0.1 -q uA"
ACTIONS = 10
CATALOGUE = 1_000
EXAMPLES = 20_000
NEW_EXAMPLES = 4_000
ARRAY = 40
"""Outcomes a message: arrays of up to 256 kB at the larger of the two sizes."""
CADENCE = 2_000
REPEATS = 5
BAR = 0.45


class Problem(NamedTuple):
    """The same examples twice: messages of ``rewards``, and the file that the driver reads."""

    messages: list[bytes]
    text: str
    examples: int


def run() -> list[Row]:
    """Measure both paths on one core, in turns."""
    known = _problem(EXAMPLES, features=5, new=False)
    new = _problem(NEW_EXAMPLES, features=20, new=True)
    return [
        _row(known, "a catalogue of 1,000 actions, 10 a decision, 5 features a line", BAR),
        _row(new, "actions never seen before, 10 a decision, 20 features a line", None),
    ]


def _row(problem: Problem, what: str, bar: float | None) -> Row:
    others = Others()
    ratios, ours, driver = [], [], []
    with one_core(), tempfile.NamedTemporaryFile("w", dir=_memory(), suffix=".txt") as file:
        file.write(problem.text)
        file.flush()
        for _ in range(REPEATS):
            with others.measured():
                # The driver before and after, so that a core that slows down does not favour either.
                before = _driver(file.name)
                learned = _learn(problem.messages)
                after = _driver(file.name)
            ours.append(problem.examples / learned)
            driver.append(2 * problem.examples / (before + after))
            ratios.append(ours[-1] / driver[-1])
    return Row(
        f"learning from joined outcomes, one pinned core, a publish each {CADENCE:,} examples: {what}",
        "VW's C++ driver over the same examples in a file, same core",
        f">= {bar}" if bar else "report",
        f"{spread(ratios)}; {median(ours):,.0f}/s against {median(driver):,.0f}/s of CPU time",
        median(ratios) >= bar if bar else None,
        "VW itself takes half; then the text of the context, and the decoding of JSON",
        others.median,
    )


def _learn(messages: Sequence[bytes]) -> float:
    """Return the CPU seconds from the bytes of ``rewards`` to the last version."""
    began = time.process_time()
    learner = Learner("front", partial(make, "vw", ARGUMENTS))
    for offset, message in enumerate(messages):
        outcomes, _ = outcomes_in(message)
        learner.take(offset, outcomes)
        if learner.learned >= CADENCE:
            learner.publish(*learner.next())
    learner.next()
    seconds = time.process_time() - began
    learner.policy.close()
    return seconds


def _driver(path: str) -> float:
    """Return the CPU seconds that Vowpal Wabbit's driver takes for a file, both of its threads."""
    began = time.process_time()
    workspace = pylibvw.vw([*ARGUMENTS.split(), "--hash=all", "--quiet", "--data", path])
    workspace.run_parser()
    workspace.finish()
    return time.process_time() - began


def _problem(count: int, features: int, new: bool) -> Problem:
    source = random.Random(1)
    made = (f"article-{number}" for number in range(count * ACTIONS + CATALOGUE))
    catalogue = [] if new else [made_action(next(made), features, source) for _ in range(CATALOGUE)]
    outcomes, blocks = [], []
    writer, limits = Writer(), Limits()
    for number in range(count):
        offered = (
            [made_action(next(made), features, source) for _ in range(ACTIONS)]
            if new
            else source.sample(catalogue, ACTIONS)
        )
        chosen = source.randrange(ACTIONS)
        context = {"user": made_features(features, source)}
        reward = float(source.random() < 0.1)
        outcomes.append(made_outcome(number, context, offered, chosen, reward))
        read = [decode_action(orjson.dumps(action), limits) for action in offered]
        decoded = decode_context(orjson.dumps(context), limits)
        blocks.append(writer.labelled(decoded, read, chosen, 1 / ACTIONS, 0.0 - reward))
    messages = [orjson.dumps(outcomes[start : start + ARRAY]) for start in range(0, count, ARRAY)]
    return Problem(messages, "\n\n".join(blocks) + "\n\n", count)


def made_features(count: int, source: random.Random) -> dict[str, Any]:
    """Return features of which three in five are strings."""
    return {
        f"feature_{number}": f"value{source.randrange(30)}" if number % 5 < 3 else source.random()
        for number in range(count)
    }


def made_action(name: str, features: int, source: random.Random) -> dict[str, Any]:
    """Return an action with features of its own."""
    return {"id": name, "features": {"article": made_features(features, source)}}


def made_outcome(
    number: int, context: dict[str, Any], offered: list[dict[str, Any]], chosen: int, reward: float
) -> dict[str, Any]:
    """Return an outcome as the join writes it."""
    names = [action["id"] for action in offered]
    clicks = {"stream": "clicks", "time_ms": 1_700_000_000_000, "partition": 0, "offset": number, "index": 0}
    clicks["event"] = {"v": 1, "event_id": f"visit-{number}"}
    return {
        "v": 1,
        "event_id": f"visit-{number}",
        "placement": "front",
        "policy": "front",
        "shard": 0,
        "outcome_seq": number + 1,
        "revision": 0,
        "reward": reward,
        "learn": True,
        "why": "window",
        "closed_ms": 1_700_000_600_000,
        "decision_position": [1_700_000_000_000, "decisions", 0, number, 0],
        "feedback": [clicks] if reward else [],
        "decision": {
            "v": 1,
            "event_id": f"visit-{number}",
            "placement": "front",
            "policy": "front",
            "context": context,
            "actions": offered,
            "user_id": None,
            "activate": True,
            "pmf": [1 / ACTIONS] * ACTIONS,
            "chosen": names[chosen],
            "propensity": 1 / ACTIONS,
            "ranking": names,
            "policy_version": "12-0a1b2c3d",
            "expires_at_ms": 1_700_000_001_000,
            "rule": {"window_s": 600.0, "early_s": 120.0, "activate_on": None, "reward": {"default": 0.0}},
        },
    }


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on the last core it may use, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _memory() -> str | None:
    """Return a folder in memory, so that the driver does not wait for a disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
