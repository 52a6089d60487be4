"""obp 0.5.7 to compare with: installed into a folder of its own, asked over a pipe; and the log that both judge.

It wants Python below 3.11 and torch. Its estimators need neither, so it is installed without its dependencies, the
development environment has these, and torch is an empty module.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from replay.evaluation.rows import Floats

ACTIONS = 10
PACKAGES = ("obp==0.5.7", "seaborn", "tqdm", "pyyaml")
FEW = 5
"""Resamples whose time is taken off that of many: what is left is that of the resamples alone."""
LAMBDA = 10.0
NAMES = {
    "replay": "ReplayMethod",
    "ips": "InverseProbabilityWeighting",
    "snips": "SelfNormalizedInverseProbabilityWeighting",
    "clipped-ips": "InverseProbabilityWeighting",
    "sg-ips": "SubGaussianInverseProbabilityWeighting",
    "dm": "DirectMethod",
    "dr": "DoublyRobust",
    "sndr": "SelfNormalizedDoublyRobust",
    "switch-dr": "SwitchDoublyRobust",
    "dr-os": "DoublyRobustWithShrinkage",
    "sg-dr": "SubGaussianDoublyRobust",
}
"""Eleven estimators by our names and by obp's."""
NUMBERS = {"clipped-ips": LAMBDA, "switch-dr": LAMBDA, "dr-os": LAMBDA, "sg-ips": 1 / LAMBDA, "sg-dr": 1 / LAMBDA}
"""The lambda of those that have one."""


def world(rows: int) -> dict[str, Any]:
    """Return a log, a target and a reward model as obp takes them."""
    chance = np.random.default_rng(1)
    logits = chance.standard_normal((rows, ACTIONS))
    logged = _softmax(logits)
    action = (logged.cumsum(axis=1) > chance.random((rows, 1))).argmax(axis=1)
    at = np.arange(rows), action
    truth = chance.uniform(0.05, 0.15, (rows, ACTIONS))
    target = _softmax(0.5 * logits + 0.5 * chance.standard_normal((rows, ACTIONS)))
    # In some rows the target is sure, so that there is something to replay.
    sure = np.flatnonzero(chance.random(rows) < 0.1)
    target[sure] = np.eye(ACTIONS)[chance.integers(0, ACTIONS, len(sure))]
    return {
        "reward": (chance.random(rows) < truth[at]).astype(np.float64),
        "action": action,
        "pscore": logged[at],
        "action_dist": target[:, :, None],
        "estimated_rewards_by_reg_model": (truth + 0.02 * chance.standard_normal((rows, ACTIONS)))[:, :, None],
    }


def _softmax(logits: Floats) -> Floats:
    odds = np.exp(logits)
    pmf: Floats = odds / odds.sum(axis=1, keepdims=True)
    return pmf


def install(folder: Path) -> None:
    """Install obp into a folder that nothing else is imported from."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--ignore-requires-python", "--target", str(folder), *PACKAGES], check=True)


class Peer:
    """A process that holds obp and the log."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def ask(self, names: list[str], resamples: int) -> dict[str, dict[str, float]]:
        """Return per estimator its value, its ends, and its seconds: beforehand, and for each resample."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([names, resamples]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of obp ended with {self._process.wait()}")
        found: dict[str, dict[str, float]] = json.loads(line)
        return found


@contextmanager
def peer(folder: Path, rows: int) -> Iterator[Peer]:
    """Start obp on a log of so many rows."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.obp_peer", str(folder), str(rows)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Peer(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve(folder: str, rows: int) -> None:
    # Behind ours, so that what is there already is what obp uses too.
    sys.path.append(folder)
    for name in ("torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils", "torch.utils.data"):
        sys.modules[name] = _Anything(name)
    ope = import_module("obp.ope")
    log = world(rows)
    for line in sys.stdin:
        names, resamples = json.loads(line)
        answers = {}
        for name in names:
            number = {"lambda_": NUMBERS[name]} if name in NUMBERS else {}
            estimator = getattr(ope, NAMES[name])(**number)
            began = time.monotonic()
            estimator.estimate_interval(**log, n_bootstrap_samples=FEW, random_state=1)
            few = time.monotonic()
            ends = estimator.estimate_interval(**log, n_bootstrap_samples=FEW + resamples, random_state=1)
            each = ((time.monotonic() - few) - (few - began)) / resamples
            answers[name] = {
                "value": float(estimator.estimate_policy_value(**log)),
                "low": float(ends["95.0% CI (lower)"]),
                "high": float(ends["95.0% CI (upper)"]),
                "beforehand_s": max(0.0, (few - began) - FEW * each),
                "each_s": each,
            }
        print(json.dumps(answers), flush=True)


class _Anything(ModuleType):
    """A module that holds whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}", type(name, (), {}))


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
