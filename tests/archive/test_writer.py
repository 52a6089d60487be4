"""The archive's files: whole or not there, each range once, whatever other writers do."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archive.location import place_of
from archive.names import ArchiveFile, held, pieces
from archive.writer import ASIDE, ArchiveStore
from records.errors import StateRefused, WrongConfiguration

DAY = "2026-11-24"


def file(first: int, last: int, topic: str = "rewards", partition: int = 0, day: str = DAY) -> ArchiveFile:
    return ArchiveFile(topic, partition, first, last, day)


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore(str(tmp_path), "")


def test_a_worker_goes_on_behind_what_the_names_hold(store: ArchiveStore, tmp_path: Path) -> None:
    assert store.begin("rewards", 0) is None
    assert store.put(file(3, 9), b"one")
    assert store.put(file(10, 12, day="2026-11-25"), b"two")
    assert store.put(file(0, 99, partition=1), b"other")
    assert store.put(file(0, 999, topic="rewards-0"), b"other")
    assert ArchiveStore(str(tmp_path), "").begin("rewards", 0) == 13
    assert (tmp_path / file(3, 9).path).read_bytes() == b"one"


@pytest.mark.parametrize(("first", "last"), [(0, 9), (0, 4), (5, 9), (0, 20), (9, 9)])
def test_a_range_that_is_there_is_not_written_again(store: ArchiveStore, tmp_path: Path, first: int, last: int) -> None:
    assert store.put(file(0, 9), b"one")
    assert not store.put(file(first, last), b"two")
    assert [path.read_bytes() for path in tmp_path.rglob("*.parquet")] == [b"one"]
    assert list((tmp_path / ASIDE).iterdir()) == []


def test_no_archive_begins_in_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    with pytest.raises(StateRefused, match=r"with other files \(__init__.py\), expected an empty or a new folder"):
        ArchiveStore(str(tmp_path), "").belongs_to("log")
    (tmp_path / "__init__.py").unlink()
    # Another service's archive, and what a writer leaves, are no other files.
    ArchiveStore(str(tmp_path), "other-").belongs_to("log")
    assert (tmp_path / ASIDE).is_dir()
    ArchiveStore(str(tmp_path), "").belongs_to("log")
    # What was begun is gone on with, whatever was put beside it.
    (tmp_path / "notes.txt").touch()
    ArchiveStore(str(tmp_path), "").belongs_to("log")


def test_of_workers_at_the_same_moment_one_is_heard(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(20):
            start = round_ * 100
            writers = [
                pool.submit(ArchiveStore(str(tmp_path), "").put, file(start, start + number), bytes([number]))
                for number in range(8)
            ]
            assert sum(writer.result() for writer in writers) == 1
    files = list(place_of(str(tmp_path)).files("rewards"))
    assert len(files) == 20


def test_what_a_dead_worker_left_is_swept_up_and_nothing_else(store: ArchiveStore, tmp_path: Path) -> None:
    aside = tmp_path / ASIDE
    aside.mkdir()
    for name in ("rewards+0+dead", "rewards+1+alive", "rewards-0+0+alive"):
        (aside / name).write_bytes(b"half")
    store.begin("rewards", 0)
    assert sorted(path.name for path in aside.iterdir()) == ["rewards+1+alive", "rewards-0+0+alive"]


def test_a_worker_that_was_succeeded_while_it_wrote_is_not_heard(
    store: ArchiveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor began while it stood between writing aside and naming, and has not stored anything yet."""
    write: Callable[..., Path] = store._write_aside

    def paused(*arguments: object) -> Path:
        aside = write(*arguments)
        assert ArchiveStore(str(tmp_path), "").begin("rewards", 0) is None
        return aside

    monkeypatch.setattr(store, "_write_aside", paused)
    assert not store.put(file(0, 9), b"one")


def test_nothing_half_written_can_be_seen(store: ArchiveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def full(handle: int) -> None:
        synced.append(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put(file(0, 9), b"one")
    assert synced
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_everything_is_synced_before_and_after_it_is_named(
    store: ArchiveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []

    def sync(handle: int) -> None:
        seen.append((os.fstat(handle).st_ino, (tmp_path / file(0, 9).path).exists()))

    monkeypatch.setattr(os, "fsync", sync)
    store.put(file(0, 9), b"one")
    assert seen[0][1] is False
    folders = (tmp_path, tmp_path / "rewards", tmp_path / "rewards" / f"day={DAY}")
    assert {(folder.stat().st_ino, True) for folder in folders} <= set(seen[1:])


def test_the_archive_of_another_log_is_refused(store: ArchiveStore, tmp_path: Path) -> None:
    store.belongs_to("cluster/one")
    store.belongs_to("cluster/one")
    ArchiveStore(str(tmp_path), "shop.").belongs_to("cluster/two")
    with pytest.raises(StateRefused, match=r"cluster/one.*cluster/two.*bowerbird recover"):
        store.belongs_to("cluster/two")


def test_files_of_others_are_no_files_of_the_archive(store: ArchiveStore, tmp_path: Path) -> None:
    folder = tmp_path / file(0, 9).folder
    folder.mkdir(parents=True)
    for name in ("notes.txt", "part-0.parquet", "00000-00000000000000000009-00000000000000000001.parquet"):
        (folder / name).write_bytes(b"")
    assert store.begin("rewards", 0) is None


def test_ranges_that_were_written_twice_are_read_once() -> None:
    files = [file(0, 9), file(0, 14), file(15, 20), file(10, 12), file(30, 31), file(0, 5, partition=1)]
    read = [(piece.file.partition, piece.start, piece.file.last) for piece in pieces(files)]
    assert read == [(0, 0, 9), (0, 10, 14), (0, 15, 20), (0, 30, 31), (1, 0, 5)]
    assert held([each for each in files if each.partition == 0]) == (30, 32)


@pytest.mark.parametrize("url", ["ftp://host/folder", "s3:///", "gs://"])
def test_a_place_that_is_none(url: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"archive\.url"):
        place_of(url)
