from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import numpy.typing as npt

from monitoring.drawn import Drawn, Excluded
from monitoring.drift import Status
from monitoring.launch import Launch
from monitoring.page import render
from monitoring.verdict import Verdict, as_json, judge
from monitoring.windows import Window
from serving.profile import LaunchProfile

Columns = dict[str, npt.NDArray[Any]]
Populate = Callable[[int, int], tuple[Columns, npt.NDArray[np.float64]]]

END = datetime(2026, 3, 1, tzinfo=UTC)


def verdict_of(
    launch: LaunchProfile,
    columns: Columns,
    score: npt.NDArray[np.float64],
    *,
    age_days: npt.NDArray[np.float64] | float = 60.0,
    version: str = "7",
    **changes: Any,
) -> Verdict:
    rows = len(score)
    at = END.timestamp() - np.broadcast_to(age_days, rows) * 86_400.0
    fields: dict[str, Any] = {
        "days": 90,
        "end": END,
        "every_at": at,
        "bare_at": at[:0],
        "scored_at": at,
        "model_version": np.full(rows, version, dtype=object),
        "score": score,
        "features": columns,
        "absent": {},
    }
    return judge(Launch("purchase_30d", "7", launch, {}), Window(**(fields | changes)))


def test_without_change_the_verdict_is_ok_and_names_no_cause(
    launch: LaunchProfile, populate: Populate
) -> None:
    verdict = verdict_of(launch, *populate(1, 2000))

    assert (verdict.status, verdict.exit_code, verdict.causes) == (Status.OK, 0, ())
    assert verdict.headline == "purchase_30d is as at launch: nothing moved in the last 90 days."


def test_each_view_that_moved_is_one_cause_with_its_extent(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, score = populate(2, 2000)
    columns["revenue_30d"] = columns["revenue_30d"] * 100
    for name in ("opens_7d", "opens_30d", "opens_90d", "opens_365d"):
        columns[name] = np.zeros(2000)
    columns["country"] = np.full(2000, None, dtype=object)

    verdict = verdict_of(launch, columns, score)

    assert verdict.exit_code == 1
    about, daily = verdict.causes
    assert daily.startswith("View customer_daily: 5 of 12 features moved (5 drifted).")
    assert daily.endswith("And 2 more.")
    assert about.startswith("View customer_profile: 1 of 1 features moved")


def test_the_score_is_the_first_cause(launch: LaunchProfile, populate: Populate) -> None:
    columns, score = populate(3, 2000)

    verdict = verdict_of(launch, columns, np.minimum(score * 1.5, 1.0))

    assert verdict.status is Status.DRIFT
    assert verdict.causes[0].startswith("score: mean log-odds moved by +0.")


def test_too_few_customers_are_insufficient_and_no_all_clear(
    launch: LaunchProfile, populate: Populate
) -> None:
    verdict = verdict_of(launch, *populate(4, 99))

    assert (verdict.status, verdict.exit_code) == (Status.INSUFFICIENT, 0)
    assert verdict.headline.startswith("NOT ENOUGH DATA")
    assert verdict.headline.endswith("This is no all-clear.")


def test_a_fault_of_the_last_day_raises_ok_to_a_look(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, score = populate(5, 20_000)
    age = np.where(np.arange(20_000) < 150, 0.5, 60.0)
    fresh = age < 1
    columns["opens_7d"] = np.where(fresh, columns["opens_7d"] + 5, columns["opens_7d"])

    verdict = verdict_of(launch, columns, score, age_days=age)

    assert verdict.asked.status is Status.OK
    assert verdict.nested[0].status is Status.DRIFT
    assert (verdict.status, verdict.exit_code) == (Status.WARN, 0)
    assert verdict.causes[0].startswith("New in the last 1 day, not yet visible")


def test_a_champion_that_scored_nobody_yet_is_judged_by_its_features(
    launch: LaunchProfile, populate: Populate
) -> None:
    verdict = verdict_of(launch, *populate(6, 2000), version="6")

    assert verdict.status is Status.OK
    assert verdict.asked.score.status is Status.INSUFFICIENT
    assert "2000 of 2000 predictions were made by other model versions (6)" in verdict.remarks[0]


def test_what_so_few_customers_cannot_show_is_said(
    launch: LaunchProfile, populate: Populate
) -> None:
    verdict = verdict_of(launch, *populate(7, 150), one_in=4)

    said = " ".join(verdict.remarks)
    assert "cannot be told from chance" in said
    assert "One customer in 4" in said


def test_the_json_is_valid_even_where_a_number_does_not_exist(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, score = populate(8, 2000)
    columns["opens_7d"] = np.full(2000, np.nan)
    columns["opens_30d"] = np.full(2000, np.inf)
    del columns["opens_90d"]

    document = as_json(verdict_of(launch, columns, score))

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert {"target", "model_version", "status", "window", "launch", "features", "score"} <= set(
        document
    )
    assert {w["days"] for w in document["nested"]} == {1, 7, 28}


class _Tags(HTMLParser):
    """Checks that tags are closed in order, and collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [v or "" for k, v in attrs if k in {"src", "href", "srcset"}]
        if tag not in {"meta", "br", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_whole_refers_only_to_its_neighbours_and_says_the_causes(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, score = populate(9, 2000)
    columns["revenue_30d"] = columns["revenue_30d"] * 100
    verdict = verdict_of(launch, columns, score)
    tags = _Tags()

    tags.feed(render(verdict, Drawn(("score",), (Excluded("opens_7d", "no finite value"),))))

    assert tags.open == []
    assert set(tags.references) == {"evidently.html", "verdict.json"}
    text = "".join(tags.text)
    assert verdict.headline in text
    assert all(cause in text for cause in verdict.causes)
    assert "opens_7d: no finite value" in text


def test_a_category_from_outside_cannot_write_markup_into_the_page(
    launch: LaunchProfile, populate: Populate
) -> None:
    columns, score = populate(10, 2000)
    columns["country"] = np.full(2000, "<script>alert(1)</script>", dtype=object)

    page = render(verdict_of(launch, columns, score), None, note="<b>none</b>")

    assert "<script" not in page
    assert "<b>none" not in page
    assert "&lt;script&gt;" in page


def test_a_page_without_enough_data_still_says_so(
    launch: LaunchProfile, populate: Populate
) -> None:
    page = render(verdict_of(launch, *populate(11, 5)), None)

    assert "NOT ENOUGH DATA" in page
