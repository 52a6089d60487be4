"""How many features an example makes Vowpal Wabbit work through, before it sees the example.

A crossing of two namespaces of n and m features generates n * m, so a message of a few hundred kB can cost minutes. The
bound is on the generated features of all actions, times what is learned at once (``--bag``, ``--cover``, ...). It is a
function of the arguments and the example alone, so that all who learn a log refuse the same.
"""

import re
from collections.abc import Iterator
from math import comb, prod

from policies.vw.arguments import Arguments
from records.errors import BadInput

MOST_GENERATED = 20_000_000
"""Some tenths of a second of work."""
_CROSSINGS = ("quadratic", "cubic", "interactions")
_TIMES = ("bag", "cover", "rnd", "nn")
_BYTE = re.compile(r"\\x([0-9a-fA-F]{2})")
_DIGITS = re.compile(r"\d+")
_ANY = ":"


class Bound:
    r"""The bound by some arguments.

    Examples
    --------
    >>> from policies.vw.arguments import parse
    >>> bound = Bound(parse("--cb_explore_adf -q uA"))
    >>> bound.generated("shared |user age:31 tags[0]=new\n|Action id=a\n|Action id=b")
    10
    """

    def __init__(self, arguments: Arguments) -> None:
        values = [part[2:].partition("=")[::2] for part in arguments.command]
        crossings = list(_crossings(values))
        if not arguments.has("leave_duplicate_interactions"):
            crossings = list(dict.fromkeys(crossings))
        self._crossings = crossings
        self._order = max((len(letters) for letters, _ in crossings), default=1)
        self._weight = 1 + sum(times for _, times in crossings)
        self._times = _models(values)
        self._grams = _grams(values)

    def check(self, text: str) -> None:
        """Refuse the text of an example that costs too much.

        Raises
        ------
        BadInput
            More features would be generated than :data:`MOST_GENERATED`.
        """
        shared, *actions = text.split("\n")
        longest = self._grams * (shared.count(" ") + max((action.count(" ") for action in actions), default=0))
        if self._times * len(actions) * self._weight * longest**self._order <= MOST_GENERATED:
            return  # Most examples are far from it, and need not be counted.
        if (generated := self.generated(text)) > MOST_GENERATED:
            raise BadInput(
                "too_many_features",
                "features",
                f"{generated} that the policy's arguments make of them",
                f"at most {MOST_GENERATED} over all actions",
            )

    def generated(self, text: str) -> int:
        """Return how many features Vowpal Wabbit works through for the text of an example."""
        shared, *actions = [self._counted(line) for line in text.split("\n")]
        generated = 0
        for action in actions:
            counts = {letter: shared.get(letter, 0) + action.get(letter, 0) for letter in {*shared, *action}}
            every = sum(counts.values())
            counts[_ANY] = every
            generated += every
            for letters, times in self._crossings:
                generated += times * prod(counts.get(letter, 0) for letter in letters)
        return self._times * generated

    def _counted(self, line: str) -> dict[str, int]:
        """Return how many features each namespace of a line has, by its letter."""
        counts: dict[str, int] = {}
        for namespace in line.split("|")[1:]:
            letter = namespace[:1]
            counts[letter] = counts.get(letter, 0) + self._grams * len(namespace.split()[1:])
        return counts


def _crossings(values: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Yield the letters of each crossing, and how many features it generates of one from each namespace."""
    for name, value in values:
        if name in _CROSSINGS:
            yield _BYTE.sub(lambda match: chr(int(match[1], 16)), value), 1
        elif name == "experimental_full_name_interactions":
            yield _ANY * (value.count("|") + 1), 1
        elif name in ("lrq", "lrqfa"):
            rank = int(numbers[-1]) if (numbers := _DIGITS.findall(value)) else 1
            yield (value[:2] if name == "lrq" else _ANY * 2), 2 * rank
        elif name in ("automl", "interact"):
            yield _ANY * 2, 1


def _models(values: list[tuple[str, str]]) -> int:
    """Return how many models learn an example."""
    return prod(1 + int(value) if name == "nn" else max(1, int(value)) for name, value in values if name in _TIMES)


def _grams(values: list[tuple[str, str]]) -> int:
    """Return how many features ``--ngram`` and ``--skips`` make of one at most."""
    most = dict.fromkeys(("ngram", "skips"), 0)
    for name, value in values:
        if name in most and (numbers := _DIGITS.findall(value)):
            most[name] = max(most[name], int(numbers[-1]))
    grams = max(1, most["ngram"])
    return sum(comb(length - 1 + most["skips"], length - 1) for length in range(1, min(grams, 20) + 1))
