"""``bowerbird replay learn``: learn a file of another program's with Vowpal Wabbit."""

from pathlib import Path
from typing import Annotated

import typer

from bowerbird.commands.shared import AsJson, answer, complain, log_errors_in_words, say, stages


def learn(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Examples; without any, what the arguments name.", show_default=False),
    ] = None,
    arguments: Annotated[
        str, typer.Option("--vw-args", metavar="ARGUMENTS", help="Arguments of Vowpal Wabbit, as for its own command.")
    ] = "",
    line_format: Annotated[
        str | None,
        typer.Option("--format", metavar="vw|json|dsjson", help="Format of the lines; without it, as they look."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="FILE", help="Write the predictions to this file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a file with Vowpal Wabbit, example by example; print its average loss.

    The file is read once, by a process of its own: an example that ends it is named.

    Example: bowerbird replay learn --vw-args "--cb_explore_adf --epsilon 0.1" train.ldf

    Example: bowerbird replay learn --format dsjson --vw-args "--ccb_explore_adf" decisions.json --predictions out.txt
    """
    with log_errors_in_words("replay learn"), stages() as stage:
        from records.errors import WrongConfiguration
        from replay.vw_files.arguments import LineFormat
        from replay.vw_files.learned import VwOptions, learned

        if line_format is not None and line_format not in list(LineFormat):
            raise WrongConfiguration(f"--format: found {line_format}, expected one of {', '.join(LineFormat)}")
        wanted = None if line_format is None else LineFormat(line_format)
        result = learned(files or (), VwOptions(arguments, wanted, predictions), stage("learning"))
    for warning in result.warnings:
        complain(f"warning: {warning}")
    if as_json:
        loss = None if result.average_loss == "n.a." else float(result.average_loss)
        answer({"examples": result.examples, "average_loss": loss})
        return
    say(f"number of examples = {result.examples}")
    say(f"average loss = {result.average_loss}")
