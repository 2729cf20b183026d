"""Files: whole or not at all, and true to their manifests."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from serving.routing.connectors.port import DELIVERED, Connector, Fate
from serving.routing.message import Action, ActionKind
from tests.unit.serving.routing.connectors.world import message, opened, settings_of


def nobody(_: httpx.Request) -> httpx.Response:
    pytest.fail("files are not sent")


def files(home: Path, **keys: str) -> Connector:
    return opened(settings_of(kind="files", **keys), nobody, home=home)


def visible(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if not one.name.startswith("."))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_batch_is_a_file_that_its_manifest_vouches_for(tmp_path: Path, kind: str) -> None:
    connector = files(tmp_path, format=kind)

    assert connector.deliver([message("ann"), message("bob")]) == [DELIVERED, DELIVERED]

    (manifest_path,) = (tmp_path / "outbox" / "tool").glob("*.json")
    manifest = json.loads(manifest_path.read_text())
    content = (manifest_path.parent / manifest["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == manifest["sha256"]
    assert (len(content), 2) == (manifest["bytes"], manifest["rows"])
    assert manifest["file"].endswith(kind)


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    hostile = Action(ActionKind.HOLD, "2026-03-02T08:00:00Z", 'a "best"\nhour, é', "best_hour")
    batch = [message("o'neil,\r\n=1+1", action=hostile, holdout=True, tier=None)]
    files(tmp_path, folder="c").deliver(batch)
    files(tmp_path, folder="p", format="parquet").deliver(batch)

    (text,) = [path.read_bytes().decode() for path in (tmp_path / "c").glob("*.csv")]
    (table,) = [pq.read_table(path) for path in (tmp_path / "p").glob("*.parquet")]
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    (same,) = table.to_pylist()
    assert row["customer_id"] == same["customer_id"] == batch[0].customer_id
    assert row["reason"] == same["reason"]
    assert (row["holdout"], same["holdout"]) == ("true", True)
    assert (row["tier"], same["tier"]) == ("", None)
    assert float(row["score"]) == same["score"]
    assert list(row) == table.column_names


def test_the_same_batch_is_the_same_file(tmp_path: Path) -> None:
    files(tmp_path, folder="out").deliver([message("ann")])
    files(tmp_path, folder="out").deliver([message("ann")])
    files(tmp_path, folder="out").deliver([message("bob")])

    assert len(visible(tmp_path / "out")) == 4


def test_a_write_that_breaks_off_leaves_nothing_to_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    connector = files(tmp_path, folder="out")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        (outcome,) = connector.deliver([message()])
        assert list((tmp_path / "out").iterdir()) == []

    assert outcome.fate is Fate.RETRY
    assert "No space left" in outcome.reason
    assert connector.deliver([message()]) == [DELIVERED]
