"""Write the pages of the docs that are generated: ``python -m docs.make``. Tests fail when one of them differs."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from bowerbird import asyncapi, contract_page
from bowerbird.settings.definitions import expectation, fields, is_table, meanings, unwrapped, variable
from stream.config import Config

_HEAD = """\
<!-- Made by `python -m docs.make`; a test fails when it differs from the definitions. -->

# Settings

`bowerbird` reads one TOML file: `bowerbird.toml` in the current folder, or the one that `--config` or the variable
`BOWERBIRD_CONFIG` names. Everything has a default; only a policy and a placement must be named:

```toml
brokers = "127.0.0.1:9092"
redis_url = "redis://127.0.0.1:6379/0"

[policies.front]
kind = "vw"
arguments = "--cb_explore_adf --epsilon 0.1 -q uA"

[placements.front]
window_s = 600

[placements.front.reward]
default = 0.0
clip = [0.0, 10.0]
close_on = ["purchases"]

[placements.front.reward.streams.clicks]
weight = 1.0
aggregate = "max"

[placements.front.reward.streams.purchases]
value = true
```

**What is learned from what.** Each action is scored by its own features. `-q uA` also crosses the context's features
with the action's: each pair of a namespace that begins with `u` (`user`) and one that begins with `A`. A namespace of
the context has a lower case letter, one of an action the same in upper case, so `-q uI` crosses an action's `item`. An
action that brings nothing but its id is learned by its id, as if it had brought `{"action": {"id": "boots"}}`: that is
the `A` of `-q uA`. With `--id_as_feature` every action's id is a feature, in the namespace `_` (`-q u_`).
`bowerbird status` and `bowerbird check` name a crossing that no request sends, a namespace that no crossing brings to
an action, and probabilities that stand while rewards differ by action.
Where few actions are explored, a click on one of them counts many times over and can turn a young policy over for a
while; with `--learning_rate 0.1` (Vowpal Wabbit's own is 0.5) it learns a little later and more steadily.
A request, or an outcome, of which the crossings make more than 20 million features over all actions is refused.

A **placement** is a place where something is shown: the front page, a newsletter. A request names it, and its table
says which policy decides there (`policy`; the one of the same name unless set), how long a decision waits for feedback
and what feedback is worth. A **policy** learns the outcomes of the placements for which it decides, or those that its
`placements` names, whichever policy decided. What a policy is never changes under its name: kind, arguments, salt and
placements. So where another policy may decide one day, name the `placements` of each, and with more than one partition
of `rewards` the placement's `partition`, too.

Streams are free: a stream is the topic of its name behind the prefix, and exists by being named here.

An environment variable overrides a key: `BOWERBIRD_` and the key in upper case, `__` for each step into a table, `_`
for a `-` in a name (`BOWERBIRD_PLACEMENTS__FRONT_PAGE__WINDOW_S=60`). A text is taken as it is; anything else is a TOML
or JSON value (`BOWERBIRD_REPLY_TOPICS='["replies.*", "answers"]'`), also a whole table
(`BOWERBIRD_POLICIES__FRONT='{kind = "uniform"}'`). An empty value takes away a setting that may be absent.

Unknown keys, wrong types and contradictions stop the start: all are reported at once, each with file and line or
variable, key, what was found and what was expected. `bowerbird check` shows whether the servers agree with it.
"""


def settings_page() -> str:
    """Return the text of docs/settings.md."""
    return _HEAD + "".join(_sections(Config, (), Config))


def _sections(record: Any, above: tuple[str, ...], definition: type) -> Iterator[str]:
    title = f"`[{'.'.join(above)}]`" if above else "The service"
    yield f"\n## {title}\n\n"
    texts = meanings(definition)
    tables: list[tuple[tuple[str, ...], Any]] = []
    rows: list[str] = []
    for name, annotation in fields(definition).items():
        if is_table(annotation):
            tables.append(((*above, name), annotation))
            continue
        meaning = texts[name].replace("``", "`")
        rows.append(f"| `{name}` | {_default(definition, name)} | {expectation(annotation)} | {meaning} |\n")
    if rows:
        yield f"As variables: `{variable((*above, 'KEY'))}`.\n\n" if above else ""
        yield "| key | default | takes | meaning |\n|---|---|---|---|\n"
        yield from rows
    for path, annotation in tables:
        bare, _, _ = unwrapped(annotation)
        if get_origin(bare) is dict:
            yield from _sections(
                record, (*path, "NAME" if path in (("policies",), ("placements",)) else "STREAM"), get_args(bare)[1]
            )
        else:
            yield from _sections(record, path, bare)


def _default(definition: type, name: str) -> str:
    (field,) = (each for each in dataclasses.fields(definition) if each.name == name)
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{each}"' if isinstance(each, str) else f"{each:.12g}" for each in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:.12g}`"


def make() -> None:
    """Write all generated pages."""
    folder = Path(__file__).parent
    pages = {"settings.md": settings_page(), "contract.md": contract_page.page(), "asyncapi.json": asyncapi.text()}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    make()
