from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.errors import ConfigError
from feature_repo.settings import Settings
from training.weekly.evidence import Evidence
from training.weekly.page import next_steps, write_report
from training.weekly.state import (
    Moment,
    Outcome,
    Status,
    WeekState,
    end_of_week,
    load_state,
    save_state,
    state_path,
)

MONDAY = datetime(2026, 11, 23, 3, tzinfo=UTC)


def an_outcome(status: Status = Status.PASSED, **more: object) -> Outcome:
    fields = {"target": "click_7d", "as_of": MONDAY.isoformat(), "version": "3", "run_id": "r1"}
    return Outcome(status=status, **fields | more)  # type: ignore[arg-type]


EVIDENCE = Evidence(
    metrics={
        "auc": 0.81,
        "auc.lo": 0.79,
        "auc.hi": 0.83,
        "baseline_auc": 0.7,
        "log_loss": float("nan"),
        "rows": 1200.0,
        "positives": 100.0,
    },
    tags={"chosen": "logistic"},
    gates={"rows": [{"name": "auc", "verdict": "failed", "value": -0.02, "detail": "<worse>"}]},
    audit={"findings": [{"severity": "warning", "feature": "opens", "kind": "k", "cure": "mend"}]},
    tiers={
        "method": "valleys",
        "reason": "two valleys",
        "warnings": ["few rows"],
        "tiers": [{"name": "hot", "low": 0.5, "high": 1.0, "share": 0.2, "expected": 0.6,
                   "observed": None}],
    },
    tiers_status="proposed",
    aliases=("challenger",),
    champion="2",
    champion_metrics={"auc": 0.8},
    links={"run": "http://mlflow/#/run"},
)  # fmt: skip


def test_a_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    settings, moment = Settings(home=tmp_path), Moment(at=MONDAY)
    state = WeekState(key=moment.key, week=moment.week, as_of=MONDAY.isoformat(), ended=True)
    state = state.with_outcome(an_outcome(Status.GATE, reasons=("worse",)))

    save_state(settings, state)

    assert load_state(settings, moment) == state
    assert state_path(settings, moment.key).name == "2026-W48.json"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"outcomes": {"a": {}}}'])
def test_a_state_that_cannot_be_read_is_the_beginning(tmp_path: Path, text: str) -> None:
    settings, moment = Settings(home=tmp_path), Moment(at=MONDAY)
    path = state_path(settings, moment.key)
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert load_state(settings, moment) == WeekState(key="2026-W48", week="2026-W48")


def test_a_chosen_moment_has_a_state_of_its_own() -> None:
    chosen = Moment(at=MONDAY, is_chosen=True)

    assert (chosen.week, chosen.key) == ("2026-W48", "2026-W48-as-of-20261123T030000")


def test_a_week_ends_just_before_the_next_monday() -> None:
    assert end_of_week("2026-W47") == datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC)
    assert end_of_week("2026-11-23") is None
    with pytest.raises(ConfigError, match="'2026-W60', which is no ISO week"):
        end_of_week("2026-W60")


@pytest.mark.parametrize(
    ("status", "code", "final"),
    [
        (Status.PASSED, 0, True),
        (Status.LEAK, 1, True),
        (Status.ERROR, 2, False),
        (Status.GATE, 3, True),
        (Status.NOT_READY, 4, False),
    ],
)
def test_an_outcome_has_its_code_and_may_be_tried_again(
    status: Status, code: int, final: bool
) -> None:
    assert (status.exit_code, status.is_final) == (code, final)


def test_the_page_is_self_contained_and_tells_everything(tmp_path: Path) -> None:
    state = WeekState(key="2026-W48", week="2026-W48")

    page, document = write_report(
        Settings(home=tmp_path), state, [(an_outcome(Status.GATE), EVIDENCE)], MONDAY
    )

    text = page.read_text()
    assert page.name == "2026-W48.html"
    for told in ("0.81", "0.7900 to 0.8300", "champion 2", "&lt;worse&gt;", "mend", "two valleys"):
        assert told in text, told
    assert "<worse>" not in text
    assert not re.search(r'(src|href)="(?!#|http://mlflow)', text)
    assert json.loads(page.with_suffix(".json").read_text()) == {
        key: value for key, value in document.items() if key != "page"
    }
    assert document["targets"][0]["metrics"]["log_loss"]["model"] is None


def test_what_to_do_is_said_for_every_outcome() -> None:
    def said(status: Status) -> str:
        return " ".join(next_steps(an_outcome(status), EVIDENCE))

    assert "foresend models promote click_7d 3" in said(Status.PASSED)
    assert "foresend tiers show click_7d" in said(Status.PASSED)
    assert "no alias" in said(Status.GATE)
    assert "foresend audit click_7d" in said(Status.LEAK)
    assert "run foresend weekly again" in said(Status.NOT_READY)
    assert "run foresend weekly again" in said(Status.ERROR)


def test_a_target_without_evidence_is_told_all_the_same(tmp_path: Path) -> None:
    bare = an_outcome(Status.NOT_READY, version=None, run_id=None, reasons=("no data",))

    page, _ = write_report(
        Settings(home=tmp_path), WeekState(key="k", week="w"), [(bare, Evidence())], MONDAY
    )

    assert "no data" in page.read_text()
