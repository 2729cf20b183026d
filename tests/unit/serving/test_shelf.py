"""The models on disk, which the workers of an installation share."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.registry import Version
from serving.shelf import Shelf

ONE = Version("purchase_30d", "1", "run-1", "models:/m-1")
FILES = {"manifest.json": b"{}", "spec.json": b"{}"}


def test_a_version_another_worker_kept_meanwhile_is_not_replaced_under_its_reader(
    tmp_path: Path,
) -> None:
    first, second = Shelf(tmp_path), Shelf(tmp_path)
    place = first.keep(ONE, FILES)
    read = place.stat().st_ino

    assert second.keep(ONE, FILES) == place
    assert place.stat().st_ino == read
    assert [p.name for p in place.parent.iterdir()] == ["1"]


def test_what_another_worker_forgot_in_the_same_instant_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)
    place = shelf.keep(ONE, FILES)
    rename = Path.rename

    def late(path: Path, to: Path) -> Path:
        rename(path, path.with_name(".of-another"))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", late)
    shelf.forget(ONE)

    assert not place.exists()


def test_the_same_number_of_a_registry_made_anew_takes_the_place(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.keep(ONE, FILES)
    again = Version("purchase_30d", "1", "run-x", "models:/m-x")

    shelf.keep(again, {**FILES, "spec.json": b"[]"})

    assert shelf.folder(ONE) is None
    place = shelf.folder(again)
    assert place is not None
    assert (place / "spec.json").read_bytes() == b"[]"


def test_a_newer_version_that_another_worker_is_about_to_serve_is_not_dropped(
    tmp_path: Path,
) -> None:
    slow, fast = Shelf(tmp_path), Shelf(tmp_path)
    versions = [Version("purchase_30d", str(n), None, "") for n in range(1, 4)]
    for version in versions:
        fast.keep(version, FILES)
    slow.mark(versions[0])

    slow.mark(versions[1])

    assert fast.folder(versions[2]) is not None


def test_the_challenger_s_folder_stays_beside_the_two_last_champions(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    versions = [Version("purchase_30d", str(n), None, "") for n in range(1, 5)]
    for version in versions:
        shelf.keep(version, FILES)
    for version in versions[1:]:
        shelf.mark(version, beside=versions[0])

    assert [shelf.folder(version) is not None for version in versions] == [True, False, True, True]
