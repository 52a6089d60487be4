"""Predictions against Vowpal Wabbit's own driver, which learned from text that this test's own writer made.

The writer below shares nothing with ours but the documented form of the text, so that both can't make one mistake.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import vowpalwabbit

from policies.checks import Decision, decisions
from policies.features import Features
from policies.policy import make


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


def block(case: Decision, labelled: bool) -> str:
    rows = ["shared " + line(case.context, str.lower)]
    for index, action in enumerate(case.actions):
        label = ""
        if labelled and index == case.chosen:
            label = f"0:{-case.reward}:{1 / len(case.actions)} "
        rows.append(label + line(action.features, str.upper))
    return "\n".join(rows) + "\n\n"


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
    (tmp_path / "train").write_text("".join(block(case, labelled=True) for case in training))
    (tmp_path / "ask").write_text("".join(block(case, labelled=False) for case in asked))
    common = ["--quiet", "--hash", "all", "--preserve_performance_counters"]
    told = ["--cb_explore_adf", *arguments.split()]
    vowpalwabbit.Workspace(arg_list=[*told, *common, "-d", f"{tmp_path}/train", "-f", f"{tmp_path}/model"]).finish()
    vowpalwabbit.Workspace(
        arg_list=[*common, "-i", f"{tmp_path}/model", "-d", f"{tmp_path}/ask", "-p", f"{tmp_path}/pmfs"]
    ).finish()

    policy = make("vw", f"--cb_explore_adf {arguments}")
    for case in training:
        policy.learn(case.context, case.actions, case.chosen, 1 / len(case.actions), case.reward)
    answers = [row for row in (tmp_path / "pmfs").read_text().split("\n") if row]
    assert len(answers) == len(asked)
    told_apart = 0
    for case, answer in zip(asked, answers, strict=True):
        scores = {int(index): float(p) for index, p in (pair.split(":") for pair in answer.split(","))}
        pmf = policy.predict(case.context, case.actions)
        assert pmf == pytest.approx([scores[index] for index in range(len(pmf))], abs=2e-5)
        told_apart += max(pmf) > 2 * min(pmf)
    assert told_apart > 40, "a comparison of policies that learned nothing says nothing"
