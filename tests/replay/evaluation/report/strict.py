"""A strict reader of HTML: what browsers would mend in silence is an error here."""

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "img", "input", "hr"}
# A browser would end these at other places than the text does.
NO_BLOCK_INSIDE = {"p", "h1", "h2", "h3", "dt", "small"}
BLOCK = {"p", "div", "section", "table", "ul", "dl", "pre", "figure", "h1", "h2", "h3", "details"}


class Element:
    """A tag with its attributes and its content."""

    def __init__(self, tag: str, attributes: dict[str, str | None], parent: "Element | None") -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.inside: list[Element | str] = []

    @property
    def text(self) -> str:
        return "".join(each if isinstance(each, str) else each.text for each in self.inside)

    @property
    def words(self) -> str:
        """Its text; white space counts as one space."""
        return " ".join(self.text.split())

    def all(self, tag: str = "", **attributes: str) -> "list[Element]":
        """Every element below it with that tag and these attributes (``class_``: one of its classes)."""
        found = []
        for each in self.inside:
            if isinstance(each, Element):
                if tag in ("", each.tag) and all(each.has(name, value) for name, value in attributes.items()):
                    found.append(each)
                found += each.all(tag, **attributes)
        return found

    def has(self, name: str, value: str) -> bool:
        if name == "class_":
            return value in (self.attributes.get("class") or "").split()
        return self.attributes.get(name) == value

    def one(self, tag: str = "", **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found


class Strict(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self._open = Element("", {}, None)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attributes}) == len(attributes), f"{self.getpos()}: an attribute twice in {tag}"
        above: Element | None = self._open
        while above is not None:
            assert not (tag in BLOCK and above.tag in NO_BLOCK_INSIDE), f"{self.getpos()}: {tag} in {above.tag}"
            above = above.parent
        element = Element(tag, dict(attributes), self._open)
        self._open.inside.append(element)
        if tag not in VOID:
            self._open = element

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._open.tag, f"{self.getpos()}: found </{tag}>, expected </{self._open.tag}>"
        assert self._open.parent is not None
        self._open = self._open.parent

    def handle_data(self, data: str) -> None:
        self._open.inside.append(data)

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html"

    def handle_comment(self, data: str) -> Any:
        raise AssertionError(f"{self.getpos()}: a comment")


def read(text: str) -> Element:
    """Return the root of a page."""
    reader = Strict()
    reader.feed(text)
    reader.close()
    assert reader._open is reader.root, f"<{reader._open.tag}> has no end"
    return reader.root
