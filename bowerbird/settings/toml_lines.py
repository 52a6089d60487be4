"""At which line of a TOML document a key stands, so that an error can name it."""

import tomllib

KeyPath = tuple[str | int, ...]
"""Keys from the document's root; an int is the index of an array's item."""

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_BETWEEN = frozenset(" \t\r\n,")


def key_lines(document: str) -> dict[KeyPath, int]:
    r"""Return the line, from 1, of every key and table of a TOML document.

    Parameters
    ----------
    document
        Valid TOML: ``tomllib`` has parsed it. The standard parser tells no positions, hence this second reading.

    Examples
    --------
    >>> key_lines('prefix = ""\n[placements.front]\nwindow_s = 600\n')[("placements", "front", "window_s")]
    3
    """
    return _Reader(document).lines


class _Reader:
    def __init__(self, document: str) -> None:
        self.document = document
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._line = 1
        self._counted_to = 0
        self._last_of_array: dict[KeyPath, int] = {}
        table: KeyPath = ()
        while (character := self._skip()) != "":
            if character == "[":
                table = self._header()
            else:
                self._pair(table)

    def _skip(self) -> str:
        """Go to the next character that is neither blank, comma nor comment, and return it; "" at the end."""
        while self.at < len(self.document):
            character = self.document[self.at]
            if character == "#":
                end = self.document.find("\n", self.at)
                self.at = len(self.document) if end < 0 else end
            elif character in _BETWEEN:
                self.at += 1
            else:
                return character
        return ""

    def _note(self, path: KeyPath, offset: int) -> None:
        self._line += self.document.count("\n", self._counted_to, offset)
        self._counted_to = offset
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self._line)

    def _header(self) -> KeyPath:
        start = self.at
        array = self.document.startswith("[[", start)
        self.at += 2 if array else 1
        *parents, last = self._key()
        self.at = self.document.index("]", self.at) + (2 if array else 1)
        path: KeyPath = ()
        for part in parents:
            path = self._inside((*path, part))
        path = (*path, last)
        if array:
            self._last_of_array[path] = self._last_of_array.get(path, -1) + 1
        path = self._inside(path)
        self._note(path, start)
        return path

    def _inside(self, path: KeyPath) -> KeyPath:
        return (*path, self._last_of_array[path]) if path in self._last_of_array else path

    def _pair(self, table: KeyPath) -> None:
        start = self.at
        path = (*table, *self._key())
        self._note(path, start)
        self.at = self.document.index("=", self.at) + 1
        self._skip()
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip()
            start = self.at
            if self.document[start] in "\"'":
                self._string()
                parts.append(str(tomllib.loads("key = " + self.document[start : self.at])["key"]))
            else:
                while self.document[self.at] in _BARE:
                    self.at += 1
                parts.append(self.document[start : self.at])
            if self._skip() != ".":
                return parts
            self.at += 1

    def _string(self) -> None:
        quote = self.document[self.at]
        fence = quote * 3 if self.document.startswith(quote * 3, self.at) else quote
        self.at += len(fence)
        while not self.document.startswith(fence, self.at):
            self.at += 2 if quote == '"' and self.document[self.at] == "\\" else 1
        self.at += len(fence)
        while len(fence) == 3 and self.document.startswith(quote, self.at):
            # A multi-line string may end in quotes of its own: the last three are the fence.
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        character = self.document[self.at]
        if character in "\"'":
            self._string()
        elif character == "[":
            self._array(path)
        elif character == "{":
            self.at += 1
            while self._skip() != "}":
                self._pair(path)
            self.at += 1
        else:
            while self.at < len(self.document) and self.document[self.at] not in ",]}#\r\n":
                self.at += 1

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self._skip() != "]":
            self._note((*path, index), self.at)
            self._value((*path, index))
            index += 1
        self.at += 1
