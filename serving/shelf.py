"""The models kept on disk: serving goes on from them when MLflow is away or lost its files.

{state}/models/<target>/<version>/    the runtime files, as the registry gave them
{state}/models/<target>/current.json  which of them was served last
{state}/models/<target>/tiers.json    the tier policy used last
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from serving.registry import Version
from serving.tiers import BadPolicy, TierPolicy, from_json, to_json

_POLICY: Final = "tiers.json"
_CURRENT: Final = "current.json"
_ORIGIN: Final = "origin.json"
_SAFE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Shelf:
    """Model folders of one installation. Several processes may share it: folders appear whole."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, version: Version) -> Path | None:
        """Folder of this very version, None when it is not kept."""
        place = self._place(version)
        return place if _origin(place / _ORIGIN) == version else None

    def keep(self, version: Version, files: Mapping[str, bytes]) -> Path:
        """Store the files of a version, in place of another one of the same number."""
        place = self._place(version)
        fresh = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
        fresh.mkdir(parents=True)
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        (fresh / _ORIGIN).write_text(json.dumps(_told(version)))
        if self.folder(version) is not None:
            # Another process kept it meanwhile, and may be reading it this very moment.
            shutil.rmtree(fresh, ignore_errors=True)
            return place
        self.forget(version)
        try:
            fresh.rename(place)
        except OSError:
            # Another process kept the same version in this instant; its files are as good.
            shutil.rmtree(fresh, ignore_errors=True)
        return place

    def forget(self, version: Version) -> None:
        """Delete what is kept under this version's number."""
        place = self._place(version)
        if place.exists():
            gone = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
            # Several processes may find the same files damaged in the same instant.
            with suppress(FileNotFoundError):
                place.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def last(self, target: str) -> Version | None:
        """The version that was served last, None when there is none or it is not kept."""
        version = _origin(self._root / _safe(target) / _CURRENT)
        if version is None or version.target != target or self.folder(version) is None:
            return None
        return version

    def mark(self, version: Version, *, beside: Version | None = None) -> None:
        """Remember a version as the one served. Older ones are dropped, but for the one before it
        and the one served `beside` it; another process may be about to serve a newer one."""
        before = self.last(version.target)
        folder = self._root / _safe(version.target)
        _put(folder / _CURRENT, json.dumps(_told(version)))
        if before is None or before == version:
            return
        kept = {_safe(one.number) for one in (version, before, beside) if one is not None}
        for old in folder.iterdir():
            is_newer = old.name.isdecimal() and int(old.name) > version.order
            if old.is_dir() and old.name not in kept and not is_newer and old.name[0] != ".":
                shutil.rmtree(old, ignore_errors=True)

    def policy(self, target: str) -> TierPolicy | None:
        """The tier policy used last, None when there is none that can be read."""
        try:
            policy = from_json(json.loads((self._root / _safe(target) / _POLICY).read_text()))
        except (OSError, ValueError, KeyError, TypeError, BadPolicy):
            return None
        return policy if policy.target == target else None

    def keep_policy(self, target: str, policy: TierPolicy | None) -> None:
        """Remember the tier policy in use; None: none is."""
        path = self._root / _safe(target) / _POLICY
        if policy is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(path, json.dumps(to_json(policy)))

    def _place(self, version: Version) -> Path:
        return self._root / _safe(version.target) / _safe(version.number)


def _put(path: Path, text: str) -> None:
    """Write a file that appears whole; several processes may write it at once."""
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    fresh.write_text(text)
    fresh.replace(path)


def _safe(name: str) -> str:
    """The name, when it can be a folder's; what a registry says never leads out of the shelf."""
    if _SAFE.fullmatch(name) is None:
        message = f"{name!r} cannot be the name of a folder"
        raise ValueError(message)
    return name


def _told(version: Version) -> dict[str, str | None]:
    """What makes a version this one; its tags change and are asked for anew."""
    return {
        "target": version.target,
        "number": version.number,
        "run_id": version.run_id,
        "source": version.source,
    }


def _origin(path: Path) -> Version | None:
    try:
        raw = json.loads(path.read_text())
        return Version(str(raw["target"]), str(raw["number"]), raw["run_id"], str(raw["source"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
