"""`make bench`: runs the benchmarks, prints a table, writes bench.json in the data folder."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from feature_repo.settings import load_settings
from infra.quiet import quieten_libraries

BENCHMARKS: Final = {
    "bulk_load": "infra.bench.bulk_load",
    "bulk_read_1000": "infra.bench.bulk_read",
    "pit_join": "infra.bench.pit_join",
    "dataset_rows": "infra.bench.dataset_rows",
    "build_growth": "infra.bench.build_growth",
    "ingest_end_to_end": "infra.bench.ingest_end_to_end",
    "ingest_freshness": "infra.bench.ingest_freshness",
    "ingest_growth": "infra.bench.ingest_growth",
    "machine_events": "infra.bench.machine_events",
    "fold_vs_push_100": "infra.bench.fold_vs_push_100",
    "ghosts": "infra.bench.ghosts",
    "purchase_vs_rfm": "infra.bench.purchase_vs_rfm",
    "score_single_16": "infra.bench.send_time.single:score_single_16",
    "score_single_64": "infra.bench.send_time.single:score_single_64",
    "score_single_tuned": "infra.bench.send_time.single:score_single_tuned",
    "score_echo_16": "infra.bench.send_time.single:score_echo_16",
    "score_batch_100": "infra.bench.send_time.single:score_batch_100",
    "score_batch_tuned": "infra.bench.send_time.single:score_batch_tuned",
    "overload": "infra.bench.send_time.overload",
    "redis_frozen": "infra.bench.send_time.redis_frozen",
    "swap": "infra.bench.send_time.swap",
    "audience": "infra.bench.send_time.audience",
    "event_to_score": "infra.bench.send_time.event_to_score",
    "redis_bytes": "infra.bench.redis_bytes",
    "model_calls": "infra.bench.model_calls",
    "http_route": "infra.bench.http_route",
}
"""Name: the module whose `run(workdir)`, or the function named after a colon, measures it.

Imported when it runs: Feast takes seconds.
"""


def main(argv: list[str]) -> int:
    """Run the benchmarks named, or all; 2 when a name is unknown."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", help="comma-separated names")
    chosen = [name for name in parser.parse_args(argv).only.split(",") if name] or [*BENCHMARKS]
    unknown = [name for name in chosen if name not in BENCHMARKS]
    console = Console()
    if unknown:
        console.print(f"No benchmark {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}.")
        return 2
    home = load_settings().home.absolute()
    workdir = home / "bench"
    results: dict[str, dict[str, Any]] = {}
    try:
        for name in chosen:
            started = time.perf_counter()
            with console.status(f"{name} runs"):
                folder = workdir / name
                folder.mkdir(parents=True, exist_ok=True)
                results[name] = _function(BENCHMARKS[name])(folder)
            console.print(f"{name}: {time.perf_counter() - started:.0f} s")
            write_results(home / "bench.json", results)
    finally:
        rmtree(workdir, ignore_errors=True)
    console.print(results_table(results))
    return 0


def _function(place: str) -> Callable[[Path], dict[str, Any]]:
    module, _, name = place.partition(":")
    function: Callable[[Path], dict[str, Any]] = getattr(
        importlib.import_module(module), name or "run"
    )
    return function


def write_results(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Merge the results into the file: a run of some keeps what others measured."""
    held = json.loads(path.read_text()) if path.exists() else {}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(held | results, indent=1))
    fresh.replace(path)


def results_table(results: dict[str, dict[str, Any]]) -> Table:
    """One row per benchmark; figures of parts within parts are in the file only."""
    table = Table("benchmark", "ours", "baseline", "unit", "ratio", "more")
    for name, result in results.items():
        figures = [f"{result[key]:,.4g}" for key in ("ours", "baseline")]
        shown = {"ours", "baseline", "unit", "ratio"}
        more = {k: v for k, v in result.items() if k not in shown and not _is_deep(v)}
        said = ", ".join(f"{key} {value}" for key, value in more.items())
        table.add_row(name, *figures, str(result["unit"]), f"{result['ratio']:.2f}", said)
    return table


def _is_deep(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(part, dict) for part in value.values())


if __name__ == "__main__":
    quieten_libraries()
    sys.exit(main(sys.argv[1:]))
