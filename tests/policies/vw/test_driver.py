"""Predictions against Vowpal Wabbit's own driver, which learned from text that this test wrote of ``rewards``.

Both read the same messages: the learner by the loop's own path, the writer below as plain JSON. It shares nothing with
ours but the documented form of the text, so that both can't make one mistake.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import vowpalwabbit

from policies.checks import Decision, decisions
from policies.features import Features
from policies.learner import Learner
from policies.registry import make
from policies.training import outcomes_in
from tests.policies.asking import pmf_of


def line(features: Features, letter_of: Callable[[str], str]) -> str:
    parts = []
    for namespace in sorted(features):
        tokens = [letter_of(namespace[0]) + namespace[1:]]
        for name in sorted(features[namespace]):
            value = features[namespace][name]
            if isinstance(value, list):
                tokens += [f"{name}[{i}]=" + str(item).replace(" ", "%20") for i, item in enumerate(value)]
            elif isinstance(value, str | bool):
                tokens.append(f"{name}={str(value).lower()}")
            else:
                tokens.append(f"{name}:{value!r}")
        parts.append("|" + " ".join(tokens))
    return " ".join(parts) or "|"


def block(context: Features, actions: list[Features], label: tuple[int, str] | None = None) -> str:
    rows = ["shared " + line(context, str.lower)]
    for index, features in enumerate(actions):
        label_text = f"{label[1]} " if label is not None and label[0] == index else ""
        rows.append(label_text + line(features, str.upper))
    return "\n".join(rows) + "\n\n"


def message_of_rewards(cases: Sequence[Decision]) -> bytes:
    """Return the cases as the outcomes of one message."""
    outcomes = []
    for seq, case in enumerate(cases, 1):
        propensity = 1 / len(case.actions)
        decision = {
            "v": 1,
            "event_id": f"e{seq}",
            "placement": "front",
            "policy": "front",
            "policy_version": "external",
            "context": case.context,
            "actions": [{"id": action.id, "features": action.features} for action in case.actions],
            "pmf": [propensity] * len(case.actions),
            "chosen": case.actions[case.chosen].id,
            "propensity": propensity,
            "rule": {"window_s": 1},
        }
        outcome = {
            "v": 1,
            "event_id": f"e{seq}",
            "placement": "front",
            "policy": "front",
            "shard": 0,
            "outcome_seq": seq,
            "reward": case.reward,
        }
        outcomes.append(outcome | {"learn": True, "why": "window", "revision": 0, "decision": decision})
    return json.dumps(outcomes).encode()


def training_text(message: bytes) -> str:
    """Return what the driver learns from, written from a message of ``rewards``."""
    blocks = []
    for outcome in json.loads(message):
        decision = outcome["decision"]
        chosen = [action["id"] for action in decision["actions"]].index(decision["chosen"])
        label = (chosen, f"0:{-outcome['reward']}:{decision['propensity']}")
        blocks.append(block(decision["context"], [action["features"] for action in decision["actions"]], label))
    return "".join(blocks)


@pytest.mark.parametrize(
    "arguments",
    [
        "--epsilon 0.1 -q fF",
        "--softmax --lambda 4",
        "--squarecb -q fF -q uI",
        "--regcb --mellowness 0.0001 -q fF",
        "--bag 3",
        "--cover 3",
        "--rnd 2",
        "--first 400",
        "--cb_type ips -b 12 --noconstant --ignore i",
    ],
)
def test_the_driver_predicts_as_our_policy_does(arguments: str, tmp_path: Path) -> None:
    training, asked = decisions(400, seed=11, letters="uI"), decisions(60, seed=12, letters="uI")
    message = message_of_rewards(training)
    (tmp_path / "train").write_text(training_text(message))
    (tmp_path / "ask").write_text(
        "".join(block(case.context, [action.features for action in case.actions]) for case in asked)
    )
    common = ["--quiet", "--hash", "all", "--preserve_performance_counters"]
    options = ["--cb_explore_adf", *arguments.split()]
    vowpalwabbit.Workspace(arg_list=[*options, *common, "-d", f"{tmp_path}/train", "-f", f"{tmp_path}/model"]).finish()
    vowpalwabbit.Workspace(
        arg_list=[*common, "-i", f"{tmp_path}/model", "-d", f"{tmp_path}/ask", "-p", f"{tmp_path}/pmfs"]
    ).finish()

    learner = Learner("front", partial(make, "vw", f"--cb_explore_adf {arguments}"))
    outcomes, unreadable = outcomes_in(message)
    assert not unreadable
    assert learner.take(0, outcomes).learned == len(training)
    _, model = learner.next()
    policy = make("vw", f"--cb_explore_adf {arguments}", model)
    answers = [row for row in (tmp_path / "pmfs").read_text().split("\n") if row]
    assert len(answers) == len(asked)
    told_apart = 0
    for case, answer in zip(asked, answers, strict=True):
        scores = {int(index): float(p) for index, p in (pair.split(":") for pair in answer.split(","))}
        pmf = pmf_of(policy, case.context, case.actions)
        assert pmf == pytest.approx([scores[index] for index in range(len(pmf))], abs=2e-5)
        told_apart += max(pmf) > 2 * min(pmf)
    assert told_apart > 40, "a comparison of policies that learned nothing says nothing"
