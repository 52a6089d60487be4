"""The kinds of policies: a new kind is one file and one line here."""

from importlib import import_module

from policies.policy import Policy
from records.errors import WrongConfiguration

# A kind's module is imported when a policy of the kind is made: a process without one does not pay for its library.
_CLASSES = {
    "uniform": "policies.uniform:Uniform",
    "vw": "policies.vw.policy:VowpalWabbit",
}
KINDS = tuple(_CLASSES)


def make(kind: str, arguments: str, model: bytes | None = None) -> Policy:
    """Return a policy.

    Parameters
    ----------
    kind
        ``uniform``, or ``vw`` for Vowpal Wabbit.
    arguments
        Of ``vw``: see :mod:`policies.vw.arguments`. Of ``uniform``: empty.
    model
        What :meth:`policies.policy.Policy.dump` returned. None makes version 0, which is the same everywhere. Compare
        its :func:`~policies.policy.digest` with the published one first, since Vowpal Wabbit loads a model that was cut
        short in silence.

    Raises
    ------
    WrongConfiguration
        The kind is unknown, or the arguments are refused.
    StateRefused
        The model cannot be loaded.

    Examples
    --------
    >>> from policies.features import Action
    >>> from policies.question import Question
    >>> make("uniform", "").predict(Question({}, [Action("a", {}), Action("b", {})]))
    [0.5, 0.5]
    """
    if kind not in _CLASSES:
        raise WrongConfiguration(f"kind of policy: found {kind!r}, expected one of {', '.join(KINDS)}")
    module, _, name = _CLASSES[kind].partition(":")
    policy: Policy = getattr(import_module(module), name)(arguments, model)
    return policy


def examples_of(kind: str) -> tuple[str, ...]:
    """Return the arguments with which the laws of every policy (:mod:`policies.checks`) are checked for a kind."""
    examples: tuple[str, ...] = import_module(_CLASSES[kind].partition(":")[0]).EXAMPLES
    return examples


def build_of(kind: str) -> str:
    """Return the build of the library that a kind of policy computes with; empty: none."""
    module, _, _ = _CLASSES.get(kind, "").partition(":")
    build: str = getattr(import_module(module), "BUILD", "") if module else ""
    return build
