"""Which arguments a policy of kind ``vw`` may have.

All of Vowpal Wabbit's that concern exploration over action dependent features (``--cb_explore_adf``, required) and how
its learner learns. What would read or write files, open the network, change the form of the input, evaluate instead of
learn, or stop learning is refused, and so is what Bowerbird does not know: the list is of what is allowed.

Two are Bowerbird's own and decide what the text is that Vowpal Wabbit sees (:mod:`policies.vw.text`). They stand among
the arguments, since a version must be computed again from its arguments and the log alone:

``--id_as_feature``
    Every action's id is a feature of it, in the namespace ``_``; otherwise only that of an action without features is,
    in the namespace ``action`` (letter ``A``).
``--letter NAMESPACE=x``
    The first letter of a namespace, where its own is another's already; once a namespace.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from policies.vw.values import CHECKED, problem
from records.errors import WrongConfiguration

_FLAGS = frozenset(
    (
        "adaptive",
        "adax",
        "baseline",
        "baseline_challenger_cb",
        "bonferroni_denominator",
        "cb_adf",
        "cb_dro",
        "cb_explore_adf",
        "challenger_epsilon",
        "check_enabled",
        "coin",
        "compete",
        "constant_epsilon",
        "dropout",
        "elim",
        "epsilon_decay",
        "first_only",
        "fixed_significance_level",
        "freegrad",
        "ftrl",
        "global_only",
        "greedify",
        "inpass",
        "invariant",
        "leave_duplicate_interactions",
        "lrqdropout",
        "meanfield",
        "multitask",
        "no_bias_regularization",
        "no_predict",
        "noconstant",
        "normal_weights",
        "normalized",
        "nounif",
        "permutations",
        "pistol",
        "project",
        "random_weights",
        "rank_all",
        "regcb",
        "regcbopt",
        "restart",
        "reward_as_cost",
        "sgd",
        "softmax",
        "sort_features",
        "sparse_weights",
        "squarecb",
        "synthcover",
        "truncated_normal_weights",
        "unweighted_marginals",
        "update_before_learn",
    )
)

_VALUES = CHECKED | frozenset(
    ("affix", "interaction_type", "link", "loss_function", "opt_func", "oracle_type", "priority_type")
)

_LISTS = frozenset(
    (
        "cubic",
        "experimental_full_name_interactions",
        "feature_limit",
        "ignore",
        "ignore_linear",
        "interact",
        "interactions",
        "keep",
        "lrq",
        "lrqfa",
        "marginal",
        "ngram",
        "quadratic",
        "redefine",
        "skips",
        "spelling",
    )
)

_SHORT = MappingProxyType({"q": "quadratic", "b": "bit_precision", "l": "learning_rate", "C": "constant"})

# A small ring: Vowpal Wabbit keeps as many examples ready, and makes more where it needs them.
MODE = "--cb_explore_adf"
ALWAYS = ("--ring_size=16", "--hash=all", "--quiet", "--no_stdin", "--preserve_performance_counters")
_ALREADY = frozenset(("hash=all", "quiet", "no_stdin", "preserve_performance_counters", "save_resume"))

_KNOWN_TO_FAIL = MappingProxyType(
    {"large_action_space": "its pmf depends on what was predicted before, so no decision could be computed again"}
)

_NUMBER = re.compile(r"-[0-9.][0-9.eE+-]*")
_LETTER = re.compile(r"(.+)=([A-Za-z])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a string of arguments says.

    Attributes
    ----------
    command
        For Vowpal Wabbit, in a form that can only be read in one way.
    letters
        First letter, lower case, of namespaces that have another than their own.
    id_as_feature
        Every action's id is a feature.
    crossings
        The values of ``-q``, ``--cubic`` and ``--interactions``, in the order in which they stand.
    """

    command: tuple[str, ...]
    letters: Mapping[str, str]
    id_as_feature: bool
    crossings: tuple[str, ...]

    @property
    def interacting(self) -> frozenset[str]:
        """The letters that the crossings name."""
        return frozenset("".join(self.crossings))

    def has(self, *names: str) -> bool:
        """Tell whether one of these arguments (long names) is among the command's."""
        return any(part[2:].partition("=")[0] in names for part in self.command)


def parse(arguments: str) -> Arguments:
    """Return what a string of arguments says.

    Raises
    ------
    WrongConfiguration
        An argument is refused; the message names it.

    Examples
    --------
    >>> parse("--cb_explore_adf -q uF --id_as_feature").command[:2]
    ('--cb_explore_adf', '--quadratic=uF')
    """
    try:
        tokens = shlex.split(arguments)
    except ValueError as error:
        raise _refused(arguments, "a quotation mark is never closed, or a backslash ends it") from error
    command: list[str] = []
    letters: dict[str, str] = {}
    seen: set[str] = set()
    crossings: list[str] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        name, value = _name(token)
        if value is None and (name in _VALUES or name in _LISTS or name in ("letter", "hash")):
            if position == len(tokens) or (tokens[position][:1] == "-" and not _NUMBER.fullmatch(tokens[position])):
                raise _refused(token, "a value is missing")
            value = tokens[position]
            position += 1
        if (name if value is None else f"{name}={value}") in _ALREADY:
            continue
        if name in seen and name not in _LISTS and name != "letter":
            raise _refused(token, "it stands there twice, and only one would count")
        seen.add(name)
        if name == "id_as_feature" and value is None:
            continue
        if name == "letter" and value is not None:
            namespace, letter = _letter(value)
            if letters.setdefault(namespace, letter) != letter:
                raise _refused(token, f"namespace {namespace!r} has two letters")
        elif name in _FLAGS and value is None:
            command.append(f"--{name}")
        elif (name in _VALUES or name in _LISTS) and value is not None:
            if not value or "\0" in value:
                raise _refused(token, "the value is empty")
            if (wrong := problem(name, value)) is not None:
                raise _refused(f"--{name} {value}", wrong)
            command.append(f"--{name}={value}")
            if name in ("quadratic", "cubic", "interactions"):
                crossings.append(value)
        elif name in _KNOWN_TO_FAIL:
            raise _refused(token, _KNOWN_TO_FAIL[name])
        else:
            raise _refused(
                token,
                "it reads or writes files, uses the network, changes the mode or the input, or is unknown"
                if token[:1] == "-"
                else "a value that no argument before it takes (a list is written by repeating its argument)",
            )
    if "cb_explore_adf" not in seen:
        raise WrongConfiguration("arguments of a vw policy: --cb_explore_adf is missing, and no other mode is known")
    return Arguments((*command, *ALWAYS), letters, "id_as_feature" in seen, tuple(crossings))


def _name(token: str) -> tuple[str, str | None]:
    """Return the long name of an argument, and its value if the same token holds it."""
    if token.startswith("--"):
        name, equals, value = token[2:].partition("=")
        return name, value if equals else None
    if token[:1] == "-" and token[1:2] in _SHORT:
        return _SHORT[token[1]], token[2:] or None
    return token, None


def _letter(value: str) -> tuple[str, str]:
    match = _LETTER.fullmatch(value)
    if match is None:
        raise _refused(f"--letter {value}", "expected NAMESPACE=x, x being a letter")
    return match[1], match[2].lower()


def _refused(token: str, reason: str) -> WrongConfiguration:
    return WrongConfiguration(f"arguments of a vw policy: {token!r} is refused: {reason}")
