"""How long a reply may wait for a model that is loaded: a thread that ticks meanwhile."""

import os
import subprocess
import sys
import time
from statistics import median
from threading import Thread

import orjson

from benchmarks.row import Others, Row, spread
from policies.features import Action
from policies.question import Pick, Question
from policies.registry import make
from stream.redis.model_loader import WARM_UP
from stream.role import HUGE_PAGES

BITS = (18, 20, 22)
MODEL_BYTES = (150_000, 4_000_000)
REPEATS = 9
TICK_S = 0.0002
CHILD = "import sys; from benchmarks.load import measured; measured(int(sys.argv[1]), int(sys.argv[2]))"


def run() -> list[Row]:
    """Measure each size of the table of weights in a process of its own, with and without huge pages."""
    return [_row(bits, size) for bits in BITS for size in MODEL_BYTES]


def _row(bits: int, size: int) -> Row:
    others = Others()
    with others.measured():
        huge, small = (_found(bits, size, tunables) for tunables in (HUGE_PAGES, {"GLIBC_TUNABLES": ""}))
    parts = (
        f"{spread(huge['held'], 1)} ms",
        f"with small pages {spread(small['held'], 1)} ms",
        f"CPU {spread(huge['cpu'], 1)} ms, with small pages {spread(small['cpu'], 1)} ms",
        f"first prediction {median(huge['first']):.2f} ms, second {median(huge['second']):.2f} ms",
        f"closing {median(huge['closed']):.1f} ms",
    )
    return Row(
        f"loading a model of {size / 1e6:g} MB, -b {bits}: the longest that another thread waits",
        "none",
        "report",
        "; ".join(parts),
        None,
        "Vowpal Wabbit's constructor, which holds the interpreter's lock: its options (2 ms), the weights, and "
        "the pages of their table that are touched",
        others.median,
    )


def _found(bits: int, size: int, tunables: dict[str, str]) -> dict[str, list[float]]:
    command = [sys.executable, "-c", CHILD, str(bits), str(size)]
    done = subprocess.run(command, env=os.environ | tunables, stdout=subprocess.PIPE, check=True)
    found: dict[str, list[float]] = orjson.loads(done.stdout)
    return found


class _Ticks(Thread):
    """Notes the longest time between two of its turns."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest, self._ends = 0.0, False

    def run(self) -> None:
        before = time.perf_counter()
        while not self._ends:
            time.sleep(TICK_S)
            now = time.perf_counter()
            self.longest, before = max(self.longest, now - before), now

    def end(self) -> float:
        """Return the longest wait in ms."""
        self._ends = True
        self.join()
        return self.longest * 1000


def measured(bits: int, size: int) -> None:
    """Print what loading, predicting and closing took, in ms, as JSON."""
    arguments = f"--cb_explore_adf --epsilon 0.1 -q uA -b {bits}"
    model = _model(arguments, size)
    times: dict[str, list[float]] = {name: [] for name in ("held", "cpu", "first", "second", "closed")}
    for _ in range(REPEATS):
        ticks = _Ticks()
        ticks.start()
        time.sleep(0.01)
        began = time.thread_time()
        policy = make("vw", arguments, model)
        times["cpu"].append((time.thread_time() - began) * 1000)
        time.sleep(0.01)
        times["held"].append(ticks.end())
        for name in ("first", "second"):
            began = time.perf_counter()
            policy.predict(WARM_UP)
            times[name].append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        policy.close()
        times["closed"].append((time.perf_counter() - began) * 1000)
    sys.stdout.write(orjson.dumps(times).decode())


def _model(arguments: str, size: int) -> bytes:
    """Return a model of at least so many bytes."""
    policy = make("vw", arguments)
    number = 0
    while len(model := policy.dump()) < size:
        for _ in range(50):
            number += 1
            actions = [
                Action(f"a{action}", {"item": {f"f{number}-{action}-{feature}": 1.0 for feature in range(20)}})
                for action in range(10)
            ]
            policy.learn(Question({"user": {"age": 1.0}}, actions), [Pick(0, number % 10, 0.1)], [float(number % 2)])
    policy.close()
    return model
