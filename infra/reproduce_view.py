"""`foresend train --reproduce`: the run, and how it looks on the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from feature_repo.settings import Settings
from infra.train_view import progress_line
from training.reproduce import Reproduction, reproduce


def run_reproduction(settings: Settings, run_id: str, *, as_json: bool) -> int:
    """Make a training again and print how it came out: 0 when all is equal, else 1."""
    with progress_line() as progress:
        found = reproduce(settings, run_id, progress=progress)
    _print(found)
    if as_json:
        print(json.dumps(asdict(found) | {"is_equal": found.is_equal}))
    return 0 if found.is_equal else 1


def _print(found: Reproduction) -> None:
    console = Console()
    how = "built again from the log as it was" if found.rebuilt else "as they still are"
    console.print(f"{found.target}, run {found.run_id}: features {how}.", highlight=False)
    if found.is_equal:
        console.print(
            f"Equal: the dataset ({found.dataset_sha256[:12]}) and {found.compared - 1} metrics.",
            highlight=False,
        )
        return
    table = Table("what", "recorded", "found")
    for difference in found.differences:
        table.add_row(difference.name, str(difference.recorded), str(difference.found))
    console.print(table)
    for remark in found.remarks:
        console.print(remark, highlight=False)
