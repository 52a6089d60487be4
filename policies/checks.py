"""Laws that every policy must obey, as one list. ``bowerbird check`` and every worker at its start run them.

A policy that breaks one would make a logged propensity or a recomputed version wrong, so it is refused. With
``--large_action_space``, for one, the pmf depends on what was predicted before.

After the idea of ``river.checks``: a law is a function of a way to make the policy; it raises when broken, and its name
and docstring say what is owed.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from policies.features import FLAT_NAMESPACE, Action, Features, FeatureValue
from policies.policy import Policy, digest
from policies.question import Pick, Question, pmf_of, ranked
from policies.registry import make
from records.errors import BowerbirdError

Make = Callable[[bytes | None], Policy]
"""Makes the policy under check: from a model, or version 0 from None."""

_TASTES = ("news", "shoes", "books", "tools")
_MOST_ACTIONS = 40


class LawError(Exception):
    """A policy does not do what every policy owes."""


class Decision(NamedTuple):
    """A decision to learn from or to predict."""

    context: Features
    actions: list[Action]
    chosen: int
    reward: float


def decisions(count: int, seed: int, letters: Sequence[str] = ()) -> list[Decision]:
    """Return made-up decisions between 2 to 40 actions, with a taste to be learned; the same for the same seed.

    Parameters
    ----------
    count, seed
        How many, and which.
    letters
        Namespaces to have, lower case for the context and upper case for actions, besides ``f``.
    """
    source = random.Random(seed)
    catalogue = []
    for number in range(4 * _MOST_ACTIONS):
        item: dict[str, FeatureValue] = {
            "topic": _TASTES[number % 4],
            "price": source.random(),
            "tags": [f"tag {source.randrange(9)}"],
        }
        crossed: Features = {
            letter.lower(): {"key": f"k{source.randrange(20)}"} for letter in letters if letter.isupper()
        }
        catalogue.append(Action(f"a{number}", {FLAT_NAMESPACE: item, **crossed}))
    made = []
    for _ in range(count):
        taste = source.choice(_TASTES)
        visit: dict[str, FeatureValue] = {
            "taste": taste,
            "hour": source.randrange(24),
            "new": source.random() < 0.5,
        }
        crossed = {letter: {"taste": taste} for letter in letters if letter.islower()}
        offered = source.sample(catalogue, source.randint(2, _MOST_ACTIONS))
        chosen = source.randrange(len(offered))
        clicked = offered[chosen].features[FLAT_NAMESPACE]["topic"] == taste and source.random() < 0.9
        made.append(Decision({FLAT_NAMESPACE: visit, **crossed}, offered, chosen, 1.0 if clicked else 0.0))
    return made


def pmf_is_valid(fresh: Make, some: Sequence[Decision]) -> None:
    """Law: a pmf has a probability for each action, none outside [0, 1], and sums to 1."""
    policy = _taught(fresh, some)
    bare = [Action("a", {}), Action("b", {})]
    cases = [(case.context, case.actions) for case in some[:10]]
    cases += [
        ({}, bare),
        (some[0].context, bare),
        ({}, some[0].actions),
        (some[0].context, some[0].actions[:1]),
    ]
    for context, actions in cases:
        pmf = pmf_of(policy.predict(Question(context, actions)))
        _must(len(pmf) == len(actions), f"{len(pmf)} probabilities for {len(actions)} actions")
        _must(all(0.0 <= probability <= 1.0 for probability in pmf), f"a probability lies outside [0, 1]: {pmf}")
        _must(math.isclose(math.fsum(pmf), 1.0, abs_tol=1e-9), f"the pmf sums to {math.fsum(pmf)}")
    policy.close()


def a_list_takes_nothing_twice(fresh: Make, some: Sequence[Decision]) -> None:
    """Law: the pmf of each place of a ranked list is valid, 0 at what was taken, and the same when asked again."""
    policy, other = _taught(fresh, some), _taught(fresh, some)
    for case in some[:10]:
        question = Question(case.context, case.actions, ranked(len(case.actions)))
        taken: list[Pick] = []
        for slot in range(len(case.actions)):
            pmf = pmf_of(policy.predict(question, taken))
            _must(len(pmf) == len(case.actions), f"{len(pmf)} probabilities for {len(case.actions)} actions")
            _must(not any(pmf[pick.action] for pick in taken), "an action that was taken has a probability")
            _must(math.isclose(math.fsum(pmf), 1.0, abs_tol=1e-9), f"the pmf of place {slot} sums to {math.fsum(pmf)}")
            _must(other.predict(question._replace(), taken) == pmf, "a pmf depends on what was asked before")
            action = max(range(len(pmf)), key=pmf.__getitem__)
            taken.append(Pick(slot, action, pmf[action]))
    policy.close()
    other.close()


def predict_changes_nothing(fresh: Make, some: Sequence[Decision]) -> None:
    """Law: what is learned and saved is the same with predictions in between and without them."""
    predicting, other = fresh(None), fresh(None)
    for case in some:
        predicting.predict(Question(case.context, case.actions))
        _teach(predicting, [case])
        _teach(other, [case])
    _must(predicting.dump() == other.dump(), "predictions changed what is saved")
    predicting.close()
    other.close()


def pmf_forgets_predictions(fresh: Make, some: Sequence[Decision]) -> None:
    """Law: the pmf after 50 other predictions is that of a fresh load, bit for bit."""
    taught = _taught(fresh, some)
    model = taught.dump()
    taught.close()
    used = fresh(model)
    for case in [*some, *some][:50]:
        used.predict(Question(case.context, case.actions))
    for case in some:
        untouched = fresh(model)
        expected = untouched.predict(Question(case.context, case.actions))
        untouched.close()
        _must(used.predict(Question(case.context, case.actions)) == expected, "a pmf depends on earlier predictions")
    used.close()


def saved_bytes_are_all(fresh: Make, some: Sequence[Decision]) -> None:
    """Law: version 0 is the same everywhere, and what was saved loads as the same policy and the same bytes."""
    first, second = fresh(None), fresh(None)
    version_0 = first.dump()
    _must(version_0 == second.dump(), "version 0 is not the same everywhere")
    loaded = fresh(version_0)
    _teach(first, some)
    _teach(loaded, some)
    model = first.dump()
    _must(model == loaded.dump(), "version 0 learns otherwise when it was loaded")
    again = fresh(model)
    _must(again.dump() == model, "bytes that were loaded are saved differently")
    for case in some[:5]:
        kept, reloaded = (policy.predict(Question(case.context, case.actions)) for policy in (first, again))
        _must(kept == reloaded, "the pmf is another one after a load")
    for policy in (first, second, loaded, again):
        policy.close()


def same_cuts_same_bytes(fresh: Make, some: Sequence[Decision]) -> None:
    """Law: two runs that save and load after the same examples end in the same bytes."""

    def run() -> list[str]:
        model, digests = None, []
        for start in range(0, len(some), 7):
            policy = fresh(model)
            _teach(policy, some[start : start + 7])
            model = policy.dump()
            policy.close()
            digests.append(digest(model))
        return digests

    _must(run() == run(), "the same examples and cuts end in other bytes")


def order_of_features_is_nothing(fresh: Make, some: Sequence[Decision]) -> None:
    """Law: features in another order give the same pmf and the same bytes."""
    forwards, backwards = fresh(None), fresh(None)
    for case in some:
        turned = [Action(action.id, _reversed(action.features)) for action in case.actions]
        _teach(forwards, [case])
        _teach(backwards, [case._replace(context=_reversed(case.context), actions=turned)])
    _must(forwards.dump() == backwards.dump(), "the order of features changed what was learned")
    forwards.close()
    backwards.close()


LAWS: tuple[Callable[[Make, Sequence[Decision]], None], ...] = (
    pmf_is_valid,
    a_list_takes_nothing_twice,
    predict_changes_nothing,
    pmf_forgets_predictions,
    saved_bytes_are_all,
    same_cuts_same_bytes,
    order_of_features_is_nothing,
)


def check(kind: str, arguments: str) -> list[str]:
    """Return what is wrong with a policy, a sentence a problem; an empty list is well.

    Parameters
    ----------
    kind, arguments
        As for :func:`policies.registry.make`.

    Examples
    --------
    >>> check("uniform", "")
    []
    """
    try:
        make(kind, arguments).close()
        letters = _interacting(kind, arguments)
    except BowerbirdError as error:
        return [str(error)]
    some = decisions(25, seed=4, letters=letters)
    problems = []
    for law in LAWS:
        try:
            law(lambda model: make(kind, arguments, model), some)
        except (LawError, BowerbirdError) as error:
            problems.append(f"{kind} {arguments!r} breaks the law {law.__name__}: {error}".replace("\n", " "))
    return problems


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise LawError(otherwise)


def _interacting(kind: str, arguments: str) -> list[str]:
    """Return the letters of the namespaces that the arguments name, so that what they cross is there."""
    if kind != "vw":
        return []
    from policies.vw.arguments import parse

    parsed = parse(arguments)
    free = [letter for letter in parsed.interacting if letter.isascii() and letter.isalpha() and letter.lower() != "f"]
    return sorted(letter for letter in free if letter.lower() not in parsed.letters)


def _teach(policy: Policy, some: Sequence[Decision]) -> None:
    for case in some:
        pick = Pick(0, case.chosen, 1.0 / len(case.actions))
        policy.learn(Question(case.context, case.actions), [pick], [case.reward])


def _taught(fresh: Make, some: Sequence[Decision]) -> Policy:
    policy = fresh(None)
    _teach(policy, some)
    return policy


def _reversed(features: Features) -> Features:
    return {namespace: dict(reversed(inside.items())) for namespace, inside in reversed(features.items())}
