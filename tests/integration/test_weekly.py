"""A week's run that is killed, started again, started once more; and a training made again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

with warnings.catch_warnings():
    # MLflow warns about type hints of its own while it is imported.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred", UserWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    import mlflow  # noqa: F401

from feature_repo.config import load_config
from feature_repo.errors import NotReady, StoreUnavailable, UnusableInput
from feature_repo.event import Event, EventType
from feature_repo.history import duck
from feature_repo.history.build import build
from feature_repo.history.log import EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from infra.cli import build_app
from training.registry import Registry, open_registry
from training.reproduce import reproduce
from training.retrieval import feature_tables
from training.weekly.run import LOCK, Weekly, Work, run_week
from training.weekly.state import Moment, Status, load_state, state_path

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
WEEKS = 26
DECLARED = """
targets:
  click_7d: {event: clicked, horizon_days: 7, spine: sent}
  complaint_7d: {event: complained, horizon_days: 7, spine: sent}
"""


def history(customers: int = 120) -> list[Event]:
    """Weekly mailings up to a few days ago; every other customer likes to click."""
    random = np.random.default_rng(7)
    start = NOW - WEEKS * 7 * DAY
    events: list[Event] = []

    def add(kind: EventType, customer: int, at: datetime, message: str) -> None:
        events.append(
            Event(
                event_id=f"e{len(events)}",
                type=kind,
                customer_id=f"c{customer}",
                event_time=at,
                received_time=at + timedelta(minutes=1),
                message_id=message,
            )
        )

    for customer in range(customers):
        likes = 0.45 if customer % 2 else 0.05
        for week in range(WEEKS):
            sent = start + week * 7 * DAY + timedelta(minutes=customer)
            add(EventType.SENT, customer, sent, f"m{customer}-{week}")
            if random.uniform() < likes:
                at = sent + timedelta(hours=float(random.uniform(1, 20)))
                add(EventType.CLICKED, customer, at, f"m{customer}-{week}")
    return events


def append(settings: Settings, events: Sequence[Event]) -> None:
    with duck.connect(settings) as con:
        rows = pa.Table.from_pylist([asdict(event) for event in events], EVENTS)
        EventLog(settings.log_path).append(con, con.from_arrow(rows))


def news(number: int) -> Event:
    """A click that reaches us now, on the first message of a customer."""
    return Event(
        event_id=f"news{number}",
        type=EventType.CLICKED,
        customer_id="c0",
        event_time=NOW - WEEKS * 7 * DAY + timedelta(hours=3),
        received_time=datetime.now(UTC),
        message_id="m0-0",
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("weekly")
    (folder / "foresend.yaml").write_text(DECLARED)
    made = Settings(home=folder / "home", config=folder / "foresend.yaml")
    append(made, history())
    return made


def work(settings: Settings, steps: list[str] | None = None) -> Work:
    config = load_config(settings)
    return Work(
        settings=settings,
        config=config,
        moment=Moment(at=NOW),
        targets=[*config.targets],
        clock=lambda: datetime.now(UTC),
        progress=lambda step: None if steps is None else steps.append(step),
    )


def trainings(registry: Registry) -> int:
    words = "tags.`foresend.kind` = 'training' and attributes.status = 'FINISHED'"
    return len(registry.client.search_runs([registry.experiment_id()], words))


@pytest.fixture(scope="module")
def settled(settings: Settings) -> str:
    """The knowledge time of a run that was killed as soon as it had settled it."""
    environment = os.environ | {
        "FORESEND_HOME": str(settings.home),
        "FORESEND_CONFIG": str(settings.config),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "weekly"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 90
        while load_state(settings, Moment(at=NOW)).as_of is None:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    as_of = load_state(settings, Moment(at=NOW)).as_of
    assert as_of is not None
    return as_of


@pytest.fixture(scope="module")
def week(settings: Settings, settled: str) -> Weekly:
    """The run that goes on, though a newer row has come in meanwhile."""
    append(settings, [news(0)])
    return run_week(work(settings))


def test_a_killed_run_goes_on_with_what_it_had_settled(
    settings: Settings, settled: str, week: Weekly
) -> None:
    clicks, complaints = week.outcomes

    assert clicks.status in {Status.PASSED, Status.GATE}, clicks.reasons
    assert (clicks.version, clicks.found) == ("1", False)
    assert clicks.as_of == complaints.as_of == settled
    assert load_state(settings, Moment(at=NOW)).ended


def test_a_target_without_data_stops_no_other_and_is_told(week: Weekly) -> None:
    _, complaints = week.outcomes

    assert complaints.status is Status.NOT_READY
    assert "Too few" in complaints.reasons[0]
    assert week.exit_code == (4 if week.outcomes[0].status is Status.PASSED else 3)


def test_the_report_shows_gates_audit_and_metrics(week: Weekly) -> None:
    told = json.loads(week.page.with_suffix(".json").read_text())["targets"][0]
    text = week.page.read_text()

    assert told["metrics"]["auc"]["model"] > 0.6
    assert told["metrics"]["auc"]["baseline"] is not None
    assert {gate["verdict"] for gate in told["gates"]}
    assert told["tiers"] is not None
    assert "Leakage audit" in text
    assert "complaint_7d" in text


def test_started_again_nothing_is_trained_twice(settings: Settings, week: Weekly) -> None:
    steps: list[str] = []

    again = run_week(work(settings, steps))

    assert again.outcomes[0] == week.outcomes[0]
    assert trainings(open_registry(settings)) == 1
    assert not any(step.startswith("click_7d") for step in steps)


def test_a_lost_state_file_is_made_good_from_mlflow(settings: Settings, week: Weekly) -> None:
    registry = open_registry(settings)
    state_path(settings, week.key).unlink()
    # As a training leaves it that is killed before its last step.
    registry.client.delete_model_version_tag("click_7d", "1", "tiers.status")

    again = run_week(work(settings))

    assert again.outcomes[0].found
    assert again.outcomes[0].version == "1"
    assert again.outcomes[0].status is week.outcomes[0].status
    assert trainings(registry) == 1
    tags = registry.client.get_model_version("click_7d", "1").tags
    assert tags.get("tiers.status") == "proposed"


def test_two_runs_never_work_at_once(settings: Settings, week: Weekly) -> None:
    with only_one(settings, LOCK), pytest.raises(StoreUnavailable, match="Another weekly"):
        run_week(work(settings))


def test_a_training_comes_out_the_same_though_log_and_features_moved_on(
    settings: Settings, week: Weekly
) -> None:
    run_id = week.outcomes[0].run_id
    assert run_id is not None
    append(settings, [news(1), news(2)])
    build(settings, through=datetime.now(UTC) + 9 * DAY)
    registry = open_registry(settings)
    before: dict[str, Any] = registry.client.get_run(run_id).data.to_dictionary()
    # Falsified, so that everything else must come out equal and these two must not.
    registry.client.set_tag(run_id, "dataset_sha256", "0" * 64)
    registry.client.log_metric(run_id, "auc", 0.25)

    found = reproduce(settings, run_id)

    assert found.rebuilt
    assert {d.name: d.found for d in found.differences} == {
        "dataset_sha256": before["tags"]["dataset_sha256"],
        "auc": before["metrics"]["auc"],
    }
    assert found.compared > 30
    assert trainings(registry) == 1
    assert [*settings.scratch_path.glob("reproduce-*")] == []


def test_a_run_that_is_no_training_is_refused(settings: Settings, week: Weekly) -> None:
    with pytest.raises(UnusableInput, match="has no run 'nosuch'"):
        reproduce(settings, "nosuch")


def test_weekly_says_how_it_ended(settings: Settings, week: Weekly) -> None:
    words = ["weekly", "--target", "complaint_7d", "--json"]
    places = {"FORESEND_HOME": str(settings.home), "FORESEND_CONFIG": str(settings.config)}

    done = CliRunner().invoke(build_app(), words, env=places)

    assert done.exit_code == 4, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["exit_code"] == 4
    # The page stays that of the whole week.
    assert [target["target"] for target in told["targets"]] == ["click_7d", "complaint_7d"]


def test_rows_that_came_after_the_knowledge_time_may_be_in_no_feature_yet(
    settings: Settings, week: Weekly
) -> None:
    append(settings, [news(3)])
    snapshot = EventLog(settings.log_path).snapshot()
    as_of = datetime.fromisoformat(week.outcomes[0].as_of)

    with pytest.raises(NotReady, match="1 rows of the event log are in no feature yet"):
        feature_tables(settings, snapshot)
    assert feature_tables(settings, snapshot, as_of)["watermark"] == snapshot.last_position - 1
