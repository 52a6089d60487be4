"""Where an archive lies: a local folder, or a bucket of an object store that pyarrow knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from archive.names import ARCHIVE_SCHEMES, ArchiveFile
from records.errors import WrongConfiguration


class ArchivePlace(NamedTuple):
    """A file system, and the folder of the archive on it."""

    system: "fs.FileSystem"
    root: str

    @property
    def local(self) -> Path | None:
        """The folder, where it is a local one."""
        return Path(self.root) if self.system.type_name == "local" else None

    def path(self, name: str) -> str:
        """Return where a file of the archive lies on the file system."""
        return f"{self.root}/{name}"

    def files(self, folder: str) -> Iterator[ArchiveFile]:
        """Yield the files of a topic (``folder`` is its full name) or of one of its days, in no order.

        Raises
        ------
        OSError
            The file system does not answer.
        """
        selector = fs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        for info in self.system.get_file_info(selector):
            if info.is_file and (file := ArchiveFile.parse(info.path.removeprefix(f"{self.root}/"))):
                yield file

    def read(self, name: str) -> bytes | None:
        """Return a small file's bytes, or None where it is not there."""
        try:
            with self.system.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None


def place_of(url: str) -> ArchivePlace:
    """Return the place that a folder's name or a URL means.

    Raises
    ------
    WrongConfiguration
        It means none.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return ArchivePlace(fs.LocalFileSystem(), str(Path(url).expanduser().resolve()))
    if scheme in ARCHIVE_SCHEMES:
        try:
            system, root = fs.FileSystem.from_uri(url)
        except (pa.ArrowException, OSError, ValueError) as error:
            # Never the URL itself: it may hold a key.
            raise WrongConfiguration(
                f"archive.url: found a URL of {scheme}:// that can't be used, expected {scheme}://BUCKET/FOLDER"
            ) from error
        if root.strip("/"):
            return ArchivePlace(system, root.rstrip("/"))
        raise WrongConfiguration(f"archive.url: found {scheme}:// alone, expected a bucket or a folder behind it")
    raise WrongConfiguration(
        f"archive.url: found {scheme}://, expected a folder or one of {', '.join(ARCHIVE_SCHEMES)}"
    )
