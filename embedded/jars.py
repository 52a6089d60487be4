"""The jars of Apache Kafka: fetched once, and compared with our own list before every use.

``jars.sha256`` in this folder names each jar by its Maven coordinate and its SHA-256. Nothing is resolved
when a broker starts: what the list names is fetched, what it does not name is not put on the class path. The
list is written anew, after a change of the coordinates below, by ``python -m embedded.jars lock``.
"""

import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from records.errors import WrongConfiguration

KAFKA_VERSION = "4.1.1"
LOG4J_VERSION = "2.25.2"

# kafka-clients must be named: what the resolver picks by itself is a version in which the broker's classes
# are missing.
RESOLVED = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
    f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}",
    f"org.apache.logging.log4j:log4j-core:{LOG4J_VERSION}",
)
# The console clients. Their own dependencies would double the list with Kafka Connect, Jetty and Jersey.
ALONE = (
    f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-tools-api:{KAFKA_VERSION}",
)

LIST = Path(__file__).with_name("jars.sha256")
PARALLEL_DOWNLOADS = 8
JARS_A_LINE = 10
"""Off a terminal, the progress is a line for every so many jars."""

Progress = Callable[[int, int], None]
"""Called with the number of jars that are there, and the number of all jars."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar of the list.

    Attributes
    ----------
    coordinate : str
        ``group:artifact:version``.
    sha256 : str
        64 hexadecimal digits.
    """

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        """The file's name in the cache, ``artifact-version.jar``."""
        _group, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def cache_folder() -> Path:
    """Return the folder that keeps downloads: ``BOWERBIRD_CACHE``, else the user's cache folder."""
    configured = os.environ.get("BOWERBIRD_CACHE")
    return Path(configured) if configured else platformdirs.user_cache_path("bowerbird")


def listed(path: Path = LIST) -> list[Jar]:
    """Read the list of jars.

    Parameters
    ----------
    path : Path
        A file as ``sha256sum`` writes it, with coordinates in place of file names.
    """
    lines = path.read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return [Jar(coordinate, sha256) for sha256, coordinate in pairs]


def ensure(progress: Progress | None = None, folder: Path | None = None) -> list[Path]:
    """Fetch the jars that are missing, compare every one with the list, and return the class path.

    Parameters
    ----------
    progress : callable, optional
        Called with each jar that is there, if some had to be fetched.
    folder : Path, optional
        Where the jars are; default: ``jars`` in `cache_folder`.

    Raises
    ------
    WrongConfiguration
        A jar is not the one that the list names, or could not be fetched.
    """
    folder = folder or cache_folder() / "jars"
    jars = listed()
    folder.mkdir(parents=True, exist_ok=True)
    if any(not (folder / jar.filename).exists() for jar in jars):
        with _alone(folder):
            _fetch_missing(jars, folder, progress)
    paths = [folder / jar.filename for jar in jars]
    for jar, path in zip(jars, paths, strict=True):
        check(jar, path)
    return paths


def check(jar: Jar, path: Path) -> None:
    """Compare the file with the list.

    Raises
    ------
    WrongConfiguration
        The file's SHA-256 is another one.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != jar.sha256:
        raise WrongConfiguration(
            f"The jar {path} ({jar.coordinate}) is not the one that {LIST.name} names: expected sha256 "
            f"{jar.sha256}, found {sha256}. No broker was started. Find out who changed the file; "
            f"once it is deleted, it is fetched again."
        )


def write_list(path: Path = LIST) -> int:
    """Resolve the coordinates above, fetch every jar, and write the list anew.

    Returns
    -------
    int
        How many jars the list names.
    """
    from jgo.maven import MavenContext, PythonResolver

    with tempfile.TemporaryDirectory(prefix="bowerbird-lock-") as scratch:
        context = MavenContext(resolver=PythonResolver(), repo_cache=Path(scratch))
        inputs, transitive = context.resolver.resolve([context.create_dependency(name) for name in RESOLVED])
        inputs += [context.create_dependency(name) for name in ALONE]
        jars = {
            f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}": _sha256(dependency.artifact.resolve())
            for dependency in [*inputs, *transitive]
            if dependency.type == "jar"
        }
    head = [
        f"# The jars of Apache Kafka {KAFKA_VERSION} and what it needs, compared before every start.",
        "# Written by `python -m embedded.jars lock`.",
    ]
    body = [f"{sha256}  {coordinate}" for coordinate, sha256 in sorted(jars.items())]
    path.write_text("\n".join([*head, *body]) + "\n", encoding="ascii")
    return len(body)


@contextlib.contextmanager
def console_progress() -> Iterator[Progress]:
    """Show a bar on the standard error stream, from the first jar that is fetched on; off a terminal, some lines."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    if not Console(stderr=True).is_terminal:
        yield _progress_in_lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Bar(*columns, console=Console(stderr=True))
    task = bar.add_task(f"Fetching Apache Kafka {KAFKA_VERSION}", total=None)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


def _progress_in_lines(done: int, total: int) -> None:
    if done % JARS_A_LINE == 0 or done == total:
        sys.stderr.write(f"Fetching Apache Kafka {KAFKA_VERSION}: {done} of {total} files\n")
        sys.stderr.flush()


def _fetch_missing(jars: Sequence[Jar], folder: Path, progress: Progress | None) -> None:
    missing = [jar for jar in jars if not (folder / jar.filename).exists()]
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as scratch,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        downloads = [pool.submit(_fetch, jar, Path(scratch), folder) for jar in missing]
        try:
            for done, download in enumerate(as_completed(downloads), len(jars) - len(missing) + 1):
                download.result()
                if progress is not None:
                    progress(done, len(jars))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _fetch(jar: Jar, scratch: Path, folder: Path) -> None:
    """Fetch one jar into `scratch`; only what was fetched whole and compares equal gets to `folder`."""
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(resolver=PythonResolver(), repo_cache=scratch, timeout=60)
    try:
        path = context.create_dependency(jar.coordinate).artifact.resolve()
    except Exception as error:  # jgo raises whatever its parts raise
        raise WrongConfiguration(
            f"The jar {jar.coordinate} could not be fetched ({type(error).__name__}). It is needed once,"
            f" to start a Kafka on this machine; with a Kafka of your own, name it in the setting `brokers`."
        ) from error
    check(jar, path)
    path.replace(folder / jar.filename)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process fetch at a time."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Write the list (``lock``), or fetch and compare all jars (``fetch``)."""
    command = list(arguments)
    if command == ["lock"]:
        said = f"{LIST}: {write_list()} jars"
    elif command == ["fetch"]:
        with console_progress() as progress:
            said = f"{len(ensure(progress))} jars, all as {LIST.name} names them"
    else:
        sys.stderr.write("usage: python -m embedded.jars lock | fetch\n")
        return 2
    sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
