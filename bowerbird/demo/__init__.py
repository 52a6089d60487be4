"""``bowerbird demo``: the whole loop on this machine, on a Kafka and a Redis of its own."""

from importlib.util import find_spec
from pathlib import Path

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
PACKAGES = ("matplotlib", "numpy", "pyarrow", "scipy")
"""The packages of the extra ``demo``, without the servers, which report missing packages themselves."""


def run(
    *,
    seed: int = 1,
    json_file: Path | None = None,
    plot_file: Path | None = None,
    folder: Path | None = None,
    quick: bool = False,
) -> int:
    """Show the loop, and prove what it did.

    Parameters
    ----------
    seed
        Of the simulated visitors.
    json_file
        Where all figures go; none by default.
    plot_file
        Where the picture goes; default: ``bowerbird-demo.png`` in the current folder.
    folder
        Where the servers' data, the archive, the settings and the roles' logs stay; it must be empty. Default: a
        temporary folder.
    quick
        Less of the real log, fewer visits.

    Returns
    -------
    int
        The exit code: 0 when the weights recomputed from the log are the live ones, every outcome was right, and the
        archive holds them all, else 1; 2 where something is configured wrongly, 130 after Ctrl-C. The servers are
        stopped in every case.
    """
    from rich.console import Console

    from records.errors import BowerbirdError, WrongConfiguration

    complaints = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        _check_packages()
        from bowerbird.demo.play import play

        return play(seed, json_file, plot_file or Path("bowerbird-demo.png"), folder, quick)
    except KeyboardInterrupt:
        complaints.print("Stopped; Kafka, Redis and the roles have ended.")
        return INTERRUPTED
    except BowerbirdError as error:
        complaints.print(f"demo: {error}")
        return WRONG_USE if isinstance(error, WrongConfiguration) else FAILED


def _check_packages() -> None:
    from records.errors import WrongConfiguration

    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise WrongConfiguration(f"{', '.join(missing)} not installed; run `pip install 'bowerbird[demo]'`")
