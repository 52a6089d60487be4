"""Predicting and drawing on one core, against the raw binding of Vowpal Wabbit over text that is ready."""

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import orjson
import pylibvw

from benchmarks.learning import ACTIONS, ARGUMENTS, CATALOGUE, made_action, made_features, one_core
from benchmarks.row import Others, Row, spread
from policies.draw import draw
from policies.features import Action, Features, decode_action, decode_context
from policies.policy import Policy
from policies.question import Pick, Question, pmf_of
from policies.registry import make
from policies.vw.arguments import parse
from policies.vw.text import Writer
from records.limits import Limits

FEATURES = 5
LEARNED = 2_000
DECISIONS = 10_000
REPEATS = 5
BAR = 0.7


class Asked(NamedTuple):
    """What one decision is made of, and the same as text."""

    event_id: str
    context: Features
    actions: list[Action]
    text: str


def run() -> list[Row]:
    """Measure both in turns over the same questions and the same weights."""
    questions = _questions(LEARNED + DECISIONS)
    model = _model(questions[:LEARNED])
    asked = questions[LEARNED:]
    policy = make("vw", ARGUMENTS, model)
    workspace = _workspace(model)
    others = Others()
    ours, raw, ratios = [], [], []
    with one_core():
        # Once unmeasured: the texts of the actions are known from then on.
        _decide(policy, asked)
        _raw(workspace, asked)
        for _ in range(REPEATS):
            with others.measured():
                # The binding before and after, so that a core that slows down does not favour either.
                before = _raw(workspace, asked)
                decided = _decide(policy, asked)
                after = _raw(workspace, asked)
            ours.append(DECISIONS / decided)
            raw.append(2 * DECISIONS / (before + after))
            ratios.append(ours[-1] / raw[-1])
    workspace.finish()
    policy.close()
    return [
        Row(
            f"predict and draw, {ACTIONS} known actions, {FEATURES} features a line, one pinned core",
            "the raw VW binding alone: its parser over the ready text, predict, scores, finish",
            f">= {BAR}",
            f"{spread(ratios)}; {median(ours):,.0f}/s against {median(raw):,.0f}/s of CPU time",
            median(ratios) >= BAR,
            "VW and the draw take a third each; the rest is the text of the context and the scaling of the pmf",
            others.median,
        )
    ]


def _questions(count: int) -> list[Asked]:
    source = random.Random(1)
    writer, limits = Writer(), Limits()
    catalogue = [
        decode_action(orjson.dumps(made_action(f"article-{number}", FEATURES, source)), limits)
        for number in range(CATALOGUE)
    ]
    questions = []
    for number in range(count):
        context = decode_context(orjson.dumps({"user": made_features(FEATURES, source)}), limits)
        actions = source.sample(catalogue, ACTIONS)
        questions.append(Asked(f"visit-{number}", context, actions, writer.example(context, actions)))
    return questions


def _model(questions: Sequence[Asked]) -> bytes:
    """Return weights that have learned something, so that none of the features is new to them."""
    source = random.Random(2)
    policy = make("vw", ARGUMENTS)
    for question in questions:
        reward = float(source.random() < 0.1)
        pick = Pick(0, source.randrange(ACTIONS), 1 / ACTIONS)
        policy.learn(Question(question.context, question.actions), [pick], [reward])
    model = policy.dump()
    policy.close()
    return model


def _workspace(model: bytes) -> pylibvw.vw:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        path.write_bytes(model)
        return pylibvw.vw([*parse(ARGUMENTS).command, f"--initial_regressor={path}"])


def _decide(policy: Policy, questions: Sequence[Asked]) -> float:
    """Return the CPU seconds from features to rankings."""
    began = time.process_time()
    for event_id, context, actions, _ in questions:
        draw("front", event_id, pmf_of(policy.predict(Question(context, actions))))
    return time.process_time() - began


def _raw(workspace: pylibvw.vw, questions: Sequence[Asked]) -> float:
    """Return the CPU seconds from text to scores."""
    read, predict, finish = pylibvw.vw._parse, pylibvw.vw.predict_multi, pylibvw.vw._finish_example_multi_ex
    began = time.process_time()
    for question in questions:
        lines = read(workspace, question.text)
        predict(workspace, lines)
        lines[0].get_action_scores()
        finish(workspace, lines)
    return time.process_time() - began
