"""From the start of ``bowerbird up`` to the first answer, as a person has it: with the commands themselves."""

import json
import signal
import subprocess
import sys
import time
from statistics import median

from benchmarks.row import Others, Row, spread
from embedded import jars

REPEATS = 3
BAR_S = 15.0
REQUEST = {"placement": "front", "actions": [{"id": "boots"}, {"id": "hat"}]}
COMMAND = (sys.executable, "-m", "bowerbird")


def run() -> list[Row]:
    """Start it in a temporary folder, ask at once, stop it; several times."""
    with jars.console_progress() as progress:
        jars.ensure(progress)
    others = Others()
    ready: list[float] = []
    answered: list[float] = []
    for _ in range(REPEATS):
        with others.measured():
            seconds = _start_and_ask()
        ready.append(seconds[0])
        answered.append(seconds[1])
    return [
        Row(
            "start of `bowerbird up` to the first answer, warm cache",
            "wall time, `bowerbird request` included",
            f"< {BAR_S:g} s",
            f"{spread(answered, 1)} s; ready after {spread(ready, 1)} s",
            median(answered) < BAR_S,
            "the start of Kafka, then the imports of three roles on two cores",
            others.median,
        )
    ]


def _start_and_ask() -> tuple[float, float]:
    """Return after how many seconds it was ready, and after how many the answer was there."""
    began_s = time.monotonic()
    with subprocess.Popen([*COMMAND, "up", "--json"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            started = json.loads("".join([*iter(lines.__next__, "}\n"), "}"]))
            ready_s = time.monotonic() - began_s
            asked = [*COMMAND, "request", "-", "--json", "--config", started["config"]]
            answer = subprocess.run(asked, input=json.dumps(REQUEST), capture_output=True, text=True, check=True)
            assert json.loads(answer.stdout)["chosen"] in ("boots", "hat")
            return ready_s, time.monotonic() - began_s
        finally:
            process.send_signal(signal.SIGINT)
