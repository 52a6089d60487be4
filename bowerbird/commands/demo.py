"""``bowerbird demo``."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    seed: Annotated[int, typer.Option(help="Of the simulated visitors.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Write the plot here.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep servers' data, archive and settings here. [default: temporary]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A shorter one.")] = False,
) -> None:
    """Show the whole loop on this machine, on a Kafka and a Redis of its own, and prove what it did.

    Example: bowerbird demo --seed 2 --json figures.json
    """
    from bowerbird.demo import run

    raise typer.Exit(run(seed=seed, json_file=json_file, plot_file=plot_file, folder=folder, quick=quick))
