"""``bowerbird asyncapi``."""

import sys
from typing import Annotated

import typer

from bowerbird.commands.shared import WRONG_USE, complain


def asyncapi(
    as_json: Annotated[bool, typer.Option("--json", help="The document; also without this option.")] = False,
    as_page: Annotated[bool, typer.Option("--page", help="A page for people, in Markdown.")] = False,
) -> None:
    """Write the contract of the topics: an AsyncAPI 3.0 document, or a page made of it.

    Example: bowerbird asyncapi > asyncapi.json
    """
    if as_json and as_page:
        complain("found --json and --page, expected one of them")
        raise typer.Exit(WRONG_USE)
    from bowerbird.asyncapi import text
    from bowerbird.contract_page import page

    sys.stdout.write(page() if as_page else text())
