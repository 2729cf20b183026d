"""What a model version saw at launch: the profile it is compared with, and a sample to draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.errors import NoLaunchProfile
from serving.profile import LaunchProfile, read_profile

PROFILE_FILE: Final = "launch/profile.json"
SAMPLE_FILE: Final = "launch/sample.parquet"


@dataclass(frozen=True, slots=True)
class Launch:
    """A released model version and the rows it was released on."""

    target: str
    model_version: str
    profile: LaunchProfile
    #: A sample of those rows: model features by name, and `score`. Empty when none was logged.
    sample: Mapping[str, npt.NDArray[Any]]


def launch_from(folder: Path, target: str, version: str) -> Launch:
    """The launch files in a folder laid out as a model version's artifacts. The sample may lack.

    Raises:
        NoLaunchProfile: there is no profile, or a file cannot be read.
    """
    named = f"Champion version {version} of {target!r}"
    cure = "Train and promote a new version; its registration writes these files."
    try:
        profile = read_profile(json.loads((folder / PROFILE_FILE).read_text()))
    except FileNotFoundError as exc:
        message = f"{named} was registered without {PROFILE_FILE}. {cure}"
        raise NoLaunchProfile(message) from exc
    except (OSError, ValueError) as exc:
        message = f"{named} has a {PROFILE_FILE} that cannot be read: {exc}. {cure}"
        raise NoLaunchProfile(message) from exc
    path = folder / SAMPLE_FILE
    if not path.exists():
        return Launch(target, version, profile, {})
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as exc:
        message = f"{named} has a {SAMPLE_FILE} that cannot be read: {exc}. {cure}"
        raise NoLaunchProfile(message) from exc
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    return Launch(target, version, profile, columns)
