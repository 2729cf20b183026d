"""The demo's steps, in order, each shown as the command a user would type."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from rich.console import Console

from feature_repo.agreement import verify
from feature_repo.history.duck import connect
from feature_repo.history.log import EventLog
from feature_repo.ingest.shipped import shipped_dataset
from feature_repo.settings import Settings
from infra.demo.command import foresend
from infra.demo.folder import fresh_folder
from infra.demo.scoring import Scored, best_of, reasons_of, score_all, wait_for_model
from infra.demo.segment import score_segment
from infra.demo.simulated import make_secrets, run_simulated
from infra.demo.stack import running_stack, wait_until_ready
from infra.demo.summary import show_summary
from infra.stack.state import Stack
from serving.prediction_log import read_predictions

TARGET: Final = "purchase_30d"
KNOWN_AT: Final = "event_time+2h"
LOG_TIMEOUT_S: Final = 60.0


@dataclass
class Demo:
    """What the steps have found so far; saved as demo.json."""

    settings: Settings
    console: Console
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a step, and how long it took."""
        started = time.perf_counter()
        with self.console.status(f"[bold]{title}"):
            yield
        took = time.perf_counter() - started
        self.facts.setdefault("seconds", {})[title] = round(took, 1)
        self.console.print(f"  [green]done[/] {title} [dim]{took:.1f} s[/]")


def run_demo(settings: Settings, console: Console, *, once: bool) -> None:
    """Run everything; then stop the stack (`once`), or leave it up until Ctrl-C."""
    fresh_folder(settings)
    demo = Demo(settings, console)
    started = time.perf_counter()
    with running_stack(settings, make_secrets(settings)) as child:
        with demo.step("foresend up"):
            stack = wait_until_ready(settings, child)
        send_at = _prepare(demo)
        _train(demo)
        headers = _headers()
        scored = _score(demo, stack, send_at, headers)
        _watch(demo, send_at, len(scored.answers))
        demo.facts["simulated"] = run_simulated(settings, stack, headers, demo.step)
        demo.facts["total_seconds"] = round(time.perf_counter() - started, 1)
        path = settings.home.absolute() / "demo.json"
        path.write_text(json.dumps(demo.facts, indent=1))
        show_summary(console, demo.facts, stack, path, stays_up=not once)
        if not once:
            _stay_up(child)
    console.print("The stack is stopped.")


def _prepare(demo: Demo) -> datetime:
    """Import, build and load; the time the demo scores at."""
    with demo.step(f"foresend import online_retail.parquet --known-at {KNOWN_AT}"):
        words = (str(shipped_dataset()), "--mapping", "online_retail", "--known-at", KNOWN_AT)
        demo.facts |= {"events": foresend("import", *words)["events"]}
    with demo.step("foresend features build"):
        demo.facts["features"] = foresend("features", "build")["tables"]
    send_at = _midnight_after_last_event(demo.settings)
    with demo.step(f"foresend features load --as-of {send_at.isoformat()}"):
        loaded = foresend("features", "load", "--as-of", send_at.isoformat())
        demo.facts |= {"customers": loaded["customers"], "send_at": send_at.isoformat()}
    return send_at


def _train(demo: Demo) -> None:
    with demo.step(f"foresend train {TARGET}"):
        trained = foresend("train", TARGET)
        demo.facts |= {"target": TARGET, "training": trained}
        for name in ("auc", "baseline_auc", "calibration_slope", "chosen"):
            demo.facts[name] = trained[name]
    version = str(trained["version"])
    with demo.step(f"foresend models promote {TARGET} {version}"):
        foresend("models", "promote", TARGET, version)
    with demo.step(f'foresend tiers approve {TARGET} --by "the demo"'):
        foresend("tiers", "approve", TARGET, "--by", "the demo")
    demo.facts["model_version"] = version


def _headers() -> dict[str, str]:
    """With a new API key."""
    return {"Authorization": f"Bearer {foresend('keys', 'add', 'demo')['key']}"}


def _score(demo: Demo, stack: Stack, send_at: datetime, headers: dict[str, str]) -> Scored:
    customers = _customers(demo.settings)
    with (
        httpx.Client(base_url=stack.services["api"].url, headers=headers, timeout=30) as client,
        demo.step("POST /v1/score"),
    ):
        wait_for_model(client, TARGET, demo.facts["model_version"])
        scored = score_all(client, TARGET, customers, send_at)
        demo.facts["reasons"] = reasons_of(client, TARGET, best_of(scored.answers), send_at)
    with (
        httpx.Client(base_url=stack.services["api"].url, headers=headers, timeout=30) as client,
        demo.step("POST /v1/audience"),
    ):
        demo.facts["audience"] = score_segment(client, TARGET, scored.answers, send_at)
    demo.facts |= {
        "scored": len(scored.answers),
        "score_p50_ms": round(scored.single_p50_ms, 3),
        "score_p99_ms": round(scored.single_p99_ms, 3),
        "score_batch100_p50_ms": round(scored.batch_p50_ms, 3),
        "score_customers_per_s": round(scored.customers_per_s),
        "degraded": sum(answer["degraded"] is not None for answer in scored.answers),
        "tiers": dict(Counter(str(answer["tier"]) for answer in scored.answers)),
        "top_customers": sorted(scored.answers, key=lambda a: -a["score"])[:5],
    }
    return scored


def _watch(demo: Demo, send_at: datetime, scored: int) -> None:
    """Compare online with offline, and write the drift report."""
    with demo.step("compare online and offline features"):
        agreement = verify(demo.settings, send_at)
        demo.facts |= {
            "online_offline_compared": agreement.compared,
            "online_offline_mismatches": agreement.mismatches,
        }
    with demo.step(f"foresend report drift --target {TARGET}"):
        _wait_for_prediction_log(demo.settings, scored)
        verdict = foresend("report", "drift", "--target", TARGET, ok_codes=(0, 1))
    demo.facts |= {
        "drift_status": verdict["status"],
        "drift_causes": verdict["causes"],
        "drift_report": verdict["report"],
    }


def _customers(settings: Settings) -> list[str]:
    with connect(settings) as con:
        rows = EventLog(settings.log_path).snapshot().rows(con)
        ids: list[str] = (
            rows.select("customer_id")
            .distinct()
            .order_by("customer_id")
            .execute()["customer_id"]
            .tolist()
        )
    return ids


def _midnight_after_last_event(settings: Settings) -> datetime:
    """The first UTC midnight at which everything imported is known."""
    with connect(settings) as con:
        last: datetime = (
            EventLog(settings.log_path).snapshot().rows(con).received_time.max().execute()
        )
    midnight = last.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return datetime.fromtimestamp(midnight.timestamp(), UTC) + timedelta(days=1)


def _wait_for_prediction_log(settings: Settings, rows: int) -> None:
    """The log is written off the request path: give it the seconds it needs."""
    now = datetime.now(UTC)
    deadline = time.monotonic() + LOG_TIMEOUT_S
    while time.monotonic() < deadline:
        table = read_predictions(settings, TARGET, now - timedelta(days=1), now + timedelta(days=1))
        if table.num_rows >= rows:
            return
        time.sleep(0.5)


def _stay_up(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait()
    except KeyboardInterrupt:
        return
