"""Names as numbers: actions, versions, and what a log is cut into, in the order in which the log first has them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from replay.evaluation.rows import Codes

MOST = 100_000
"""Maximum number of distinct names, which bounds memory; further names share one number."""
OTHERS = "(others)"
NOTHING = "(none)"


class Numbered:
    """The names of one kind, numbered from 0.

    Two readers of one log give the same numbers where both begin with the same names.

    Parameters
    ----------
    names
        What is known already.
    most
        So many names have a number of their own; all others share the last one, :data:`OTHERS`.

    Examples
    --------
    >>> numbered = Numbered()
    >>> numbered.codes(pa.array(["b", "a", "b"])).tolist(), numbered.codes(pa.array(["a", None, "c"])).tolist()
    ([0, 1, 0], [1, 2, 3])
    >>> numbered.names
    ['b', 'a', '(none)', 'c']
    """

    def __init__(self, names: Iterable[str] = (), most: int = MOST) -> None:
        self.names = list(names)
        self._most = most
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def codes(self, column: "pa.Array") -> Codes:
        """Return the number of each value of a column, which may be a dictionary, numbers or truths too."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        indices = np.asarray(column.indices.fill_null(-1) if column.indices.null_count else column.indices)
        # A dictionary may have what no row has, and has it in an order of its own.
        present, firsts, places = np.unique(indices, return_index=True, return_inverse=True)
        texts = column.take(pa.array(firsts)).cast(pa.large_string()).to_pylist()
        numbers = np.zeros(len(present), dtype=np.int32)
        for place in np.argsort(firsts).tolist():
            numbers[place] = self.number(NOTHING if texts[place] is None else texts[place])
        return np.asarray(numbers[places], dtype=np.int32)

    def number(self, name: str) -> int:
        """Return the number of a name."""
        found = self._numbers.get(name)
        if found is None:
            if len(self.names) >= self._most:
                name = OTHERS
            found = self._numbers.setdefault(name, len(self.names))
            if found == len(self.names):
                self.names.append(name)
        return found

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Names:
    """What the numbers in evaluation rows mean; versions are called ``policy@version``.

    ``unit_like`` is the column that seems to name units, in a log that names none.
    """

    actions: Numbered = field(default_factory=Numbered)
    versions: Numbered = field(default_factory=Numbered)
    segments: dict[str, Numbered] = field(default_factory=dict)
    unit_like: str | None = None
