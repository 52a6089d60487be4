"""The crossings into Vowpal Wabbit: the text of one example is parsed, learned or predicted, and finished.

Examples of a call that raised must not be finished, and their workspace is not to be trusted any more.
"""

import pylibvw

_parse = pylibvw.vw._parse
_learn = pylibvw.vw.learn_multi
_predict = pylibvw.vw.predict_multi
_finish = pylibvw.vw._finish_example_multi_ex


def learn(workspace: pylibvw.vw, text: str | bytes) -> None:
    """Learn one example of several lines."""
    lines = _parse(workspace, text)
    _learn(workspace, lines)
    _finish(workspace, lines)


def learn_line(workspace: pylibvw.vw, text: str | bytes) -> None:
    """Learn one example of a workspace whose examples are single lines."""
    for example in _parse(workspace, text):
        workspace.learn(example)
        workspace._finish_example(example)


def scores(workspace: pylibvw.vw, text: str) -> list[float]:
    """Predict one example of several lines; return the scores of its actions, in their order."""
    lines = _parse(workspace, text)
    _predict(workspace, lines)
    found: list[float] = lines[0].get_action_scores()
    _finish(workspace, lines)
    return found
