"""Every kind of leak, planted in honest rows, is found and named; honest rows pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_limits

from tests.unit.training.leakage_world import DAY_US, HORIZON_DAYS, World, a_world
from training.audit.evidence import ByEventTime, Limit, Replay, Source
from training.dataset import Dataset
from training.folds import Split
from training.leakage import AuditReport, Evidence, Finding, Severity, Verdict, audit

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def world() -> World:
    return a_world(7)


def audited(evidence: Evidence) -> AuditReport:
    with threadpool_limits(1, user_api="blas"):
        return audit(evidence)


def bad(report: AuditReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity is not Severity.INFO]


def kinds_of(report: AuditReport, feature: str | None) -> dict[str, Severity]:
    return {f.kind: f.severity for f in report.findings if f.feature == feature}


def test_honest_rows_pass_over_fifty_seeds() -> None:
    found = {
        seed: [(finding.feature, finding.kind) for finding in bad(report)]
        for seed in range(50)
        for report in [audited(a_world(seed, customers=90, weeks=24).evidence)]
    }

    assert {seed: alarms for seed, alarms in found.items() if alarms} == {}


def test_the_honest_rows_hold_a_strong_feature_and_every_hardship(world: World) -> None:
    report = audited(world.evidence)
    columns = world.evidence.dataset.columns

    single = next(check for check in report.checks if check.name == "single features")
    assert 0.82 < max(v for k, v in single.numbers.items() if k.startswith("AUC")) < 0.90
    assert np.isnan(columns["hours_since_last_purchase"]).any()
    assert np.abs(columns["heavy"]).max() > 1000
    assert not report.is_critical


# A feature made by someone who did not think of time, and the finding that must name it.
def seen_at_label_time(world: World) -> Array:
    # The classic days_since_last_purchase, by a query run when the label was made.
    return finite(world.day + HORIZON_DAYS - world.last_day_by_label)


def finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def seen_to_row_time(world: World) -> Array:
    return finite(world.day - world.last_day_by_label)


def time_of_last_purchase(world: World) -> Array:
    return np.where(np.isfinite(world.last_day_by_label), world.last_day_by_label * 86_400 + 1e9, 0)


def window_past_the_row(world: World) -> Array:
    inside = world.next_day - world.day <= HORIZON_DAYS
    return world.evidence.dataset.columns["purchases_84d"] + inside


def days_until(world: World) -> Array:
    return np.where(np.isfinite(world.next_day), world.next_day - world.day, np.nan)


def label_with_noise(world: World) -> Array:
    return noisy(world, 0.35)


def label_against(world: World) -> Array:
    return -noisy(world, 0.35)


def label_by_being_missing(world: World) -> Array:
    flip = np.random.default_rng(5).random(len(world.day)) < 0.01
    return np.where((world.evidence.dataset.label == 1) ^ flip, np.nan, 1.0)


def label_not_in_order(world: World) -> Array:
    # High and low where the label is 1, in the middle where it is 0: no order, all the answer.
    random = np.random.default_rng(6)
    far = random.choice([-5.0, 5.0], len(world.day)) + random.normal(0, 1, len(world.day))
    return np.where(world.evidence.dataset.label == 1, far, random.normal(0, 1, len(world.day)))


def label_as_text(world: World) -> Array:
    flip = np.random.default_rng(8).random(len(world.day)) < 0.01
    return np.where((world.evidence.dataset.label == 1) ^ flip, "b", "a").astype(object)


def noisy(world: World, noise: float) -> Array:
    random = np.random.default_rng(4)
    return world.evidence.dataset.label + random.normal(0, noise, len(world.day))


def customer_mean(world: World) -> Array:
    return mean_by(world.code, world.evidence.dataset.label)


def smoothed_country_mean(world: World) -> Array:
    country = np.unique(world.evidence.dataset.columns["country"].astype(str), return_inverse=True)
    return mean_by(country[1], world.evidence.dataset.label, smoothing=20)


def stretched_customer_mean(world: World) -> Array:
    return 3.0 - 7.0 * mean_by(world.code, world.evidence.dataset.label, smoothing=3.7)


def rounded_log_odds_of_customer_mean(world: World) -> Array:
    mean = mean_by(world.code, world.evidence.dataset.label, smoothing=8)
    return np.round(np.log(mean / (1 - mean)), 1)


def mean_of_a_hidden_group(world: World) -> Array:
    group = np.random.default_rng(2).integers(0, 40, world.code.max() + 1)[world.code]
    return mean_by(group, world.evidence.dataset.label)


def customer_mean_without_own(world: World) -> Array:
    return without_own(world.code, world.evidence.dataset.label)


def country_mean_without_own(world: World) -> Array:
    country = np.unique(world.evidence.dataset.columns["country"].astype(str), return_inverse=True)
    return without_own(country[1], world.evidence.dataset.label)


def hidden_mean_without_own(world: World) -> Array:
    group = np.random.default_rng(3).integers(0, 12, world.code.max() + 1)[world.code]
    return without_own(group, world.evidence.dataset.label)


def mean_by(code: Array, label: Array, smoothing: float = 0.0) -> Array:
    count, ones = np.bincount(code), np.bincount(code, label)
    return ((ones + smoothing * label.mean()) / (count + smoothing))[code]


def without_own(code: Array, label: Array) -> Array:
    count, ones = np.bincount(code)[code], np.bincount(code, label)[code]
    return (ones - label) / (count - 1)


def row_number(world: World) -> Array:
    return np.arange(len(world.day), dtype=np.float64)


def clock(world: World) -> Array:
    return world.day + np.random.default_rng(1).random(len(world.day))


def customer_number(world: World) -> Array:
    return 1000.0 - 3 * world.code


CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING


@pytest.mark.parametrize(
    ("make", "name", "kind", "severity"),
    [
        # Aggregation at labelling time.
        (seen_at_label_time, "days_since_last_purchase", "jumps at the label boundary", CRITICAL),
        (seen_at_label_time, "days_since_last_purchase", "implausible alone", CRITICAL),
        (seen_to_row_time, "days_since_last_purchase", "age below zero", CRITICAL),
        (days_until, "gap", "says when the label event happens", CRITICAL),
        # Windows that reach past the row.
        (window_past_the_row, "purchases_90d", "jumps at the label boundary", CRITICAL),
        # Too good alone, whatever the form.
        (label_with_noise, "magic", "implausible alone", CRITICAL),
        (label_against, "magic", "implausible alone", CRITICAL),
        (label_by_being_missing, "magic", "implausible alone", CRITICAL),
        (label_not_in_order, "magic", "implausible alone", CRITICAL),
        (label_with_noise, "magic", "carries the model", WARNING),
        # Made of the labels.
        (customer_mean, "propensity", "target encoding", CRITICAL),
        (smoothed_country_mean, "country_rate", "target encoding", CRITICAL),
        (stretched_customer_mean, "propensity", "target encoding", CRITICAL),
        (rounded_log_odds_of_customer_mean, "propensity", "target encoding", CRITICAL),
        (mean_of_a_hidden_group, "segment_rate", "target encoding", CRITICAL),
        (customer_mean_without_own, "propensity", "leave-one-out target encoding", CRITICAL),
        (country_mean_without_own, "country_rate", "leave-one-out target encoding", CRITICAL),
        (hidden_mean_without_own, "segment_rate", "leave-one-out target encoding", CRITICAL),
        # Order and identity.
        (row_number, "index", "row number", CRITICAL),
        (clock, "ingested", "clock", WARNING),
        (customer_number, "account", "customer id", CRITICAL),
    ],
)
def test_a_planted_feature_is_found_and_named(
    world: World,
    make: Callable[[World], Array],
    name: str,
    kind: str,
    severity: Severity,
) -> None:
    report = audited(world.with_feature(name, make(world)))

    assert kinds_of(report, name).get(kind) is severity
    # And nothing else is accused.
    assert {finding.feature for finding in bad(report)} == {name}


def test_infinite_values_are_told_and_stop_no_check(world: World) -> None:
    values = np.where(world.code % 9 == 0, np.inf, 1.0 + world.code % 7)

    report = audited(world.with_feature("ratio", values))

    assert kinds_of(report, "ratio") == {"infinite values": Severity.WARNING}
    assert not report.is_critical


def test_a_text_that_tells_the_label_is_found(world: World) -> None:
    evidence = world.with_feature("status", label_as_text(world))

    report = audited(replace(evidence, texts=(*evidence.texts, "status")))

    assert kinds_of(report, "status")["implausible alone"] is Severity.CRITICAL


def test_a_time_after_the_row_s_own_is_found(world: World) -> None:
    shift = int(1e9 * 1e6)
    later = replace(world.evidence.dataset, at_us=world.evidence.dataset.at_us + shift)
    evidence = world.with_feature("last_purchase_at", time_of_last_purchase(world))

    report = audited(
        replace(evidence, dataset=replace(evidence.dataset, at_us=later.at_us), timing=None)
    )

    assert kinds_of(report, "last_purchase_at")["time after the row's"] is Severity.CRITICAL


def source(world: World, **changed: Any) -> Source:
    columns = world.evidence.dataset.columns
    given: dict[str, Any] = {
        "view": "customer_daily",
        "feature_rows": 900,
        "unfounded": 0,
        "found": len(world.day),
        "prevented": 12,
        "least_age_us": 0,
        "rows": np.arange(len(world.day)),
        "columns": {"purchases_84d": columns["purchases_84d"].copy()},
    }
    return Source(**given | changed)


def test_a_value_that_was_not_known_then_is_found(world: World) -> None:
    known = source(world)
    known.columns["purchases_84d"][world.evidence.dataset.label == 1] -= 1

    report = audited(replace(world.evidence, sources=(known,)))

    found = report.findings[0]
    assert (found.feature, found.severity) == ("purchases_84d", Severity.CRITICAL)
    assert found.numbers["share_of_label_1"] == 1.0
    assert found.numbers["share_of_label_0"] == 0.0
    assert not audited(replace(world.evidence, sources=(source(world),))).is_critical


def test_feature_rows_stamped_when_nothing_came_are_found(world: World) -> None:
    report = audited(replace(world.evidence, sources=(source(world, unfounded=3),)))

    assert kinds_of(report, None) == {"feature rows with unfounded times": Severity.CRITICAL}


def test_a_count_above_what_was_received_is_found(world: World) -> None:
    total = world.evidence.dataset.columns["purchases_total"]
    honest = Limit(feature="purchases_total", bound=total, is_upper=True, says="the purchases")

    report = audited(replace(world.evidence, limits=(replace(honest, bound=total - (total > 4)),)))

    assert kinds_of(report, "purchases_total") == {"counts what was not known": Severity.CRITICAL}
    assert not audited(replace(world.evidence, limits=(honest,))).is_critical


def test_an_age_younger_than_the_newest_event_received_is_found(world: World) -> None:
    name = "hours_since_last_purchase"
    age = world.evidence.dataset.columns[name]
    limit = Limit(feature=name, bound=age, is_upper=False, says="the hours", is_age=True)

    report = audited(replace(world.evidence, limits=(replace(limit, bound=age + 5),)))

    assert kinds_of(report, name) == {"reads an event that was not known": Severity.CRITICAL}
    assert not audited(replace(world.evidence, limits=(limit,))).is_critical


@pytest.mark.parametrize("kind", ["truncated", "poisoned"])
def test_a_feature_that_changes_with_the_future_is_found(world: World, kind: str) -> None:
    rows = np.arange(0, len(world.day), 9)
    columns = {n: v[rows].copy() for n, v in world.evidence.dataset.columns.items()}
    honest = audited(
        replace(world.evidence, replays=(Replay(kind=kind, rows=rows, columns=dict(columns)),))
    )
    positive = world.evidence.dataset.label[rows] == 1
    columns["average_order_value"] = np.where(positive, 1.5, columns["average_order_value"])

    report = audited(
        replace(world.evidence, replays=(Replay(kind=kind, rows=rows, columns=columns),))
    )

    (found,) = bad(report)
    assert (found.feature, found.kind) == ("average_order_value", "changes with the future")
    assert found.severity is Severity.CRITICAL
    assert "the mark of a leak" in found.evidence
    assert not honest.is_critical


def test_what_differs_by_event_time_is_told_with_what_it_lends(world: World) -> None:
    rows = np.arange(len(world.day))
    columns = dict(world.evidence.dataset.columns)
    early = columns["purchases_28d"] + (world.next_day - world.day < 3)
    variant = ByEventTime(rows=rows, columns={**columns, "purchases_28d": early})

    report = audited(replace(world.evidence, by_event_time=variant))

    (told,) = [finding for finding in report.findings if finding.kind == "differs by event time"]
    assert (told.feature, told.severity) == ("purchases_28d", Severity.INFO)
    assert told.numbers["lent_auc"] > 0.005
    check = next(check for check in report.checks if check.name == "by event time")
    assert check.numbers["fitted AUC lent"] > 0
    assert check.verdict is Verdict.CLEAN


def test_rows_that_were_joined_by_event_time_are_found(world: World) -> None:
    rows = np.arange(len(world.day))
    known = dict(world.evidence.dataset.columns)
    early = known["purchases_28d"] + (world.next_day - world.day < 3)
    careless = world.with_feature("purchases_28d", early)

    report = audited(
        replace(
            careless,
            by_event_time=ByEventTime(rows=rows, columns={**known, "purchases_28d": early}),
            replays=(Replay(kind="truncated", rows=rows[::3], columns=take(known, rows[::3])),),
        )
    )

    assert kinds_of(report, "purchases_28d")["joined by event time"] is Severity.CRITICAL
    assert {finding.feature for finding in bad(report)} == {"purchases_28d"}


def take(columns: dict[str, Array], rows: Array) -> dict[str, Array]:
    return {name: values[rows] for name, values in columns.items()}


def test_a_split_without_embargo_is_found(world: World) -> None:
    honest = world.evidence.split
    eager = Split(~honest.test, honest.test, honest.folds, honest.test_starts_us)

    report = audited(replace(world.evidence, split=eager))

    found = next(finding for finding in bad(report) if finding.feature is None)
    assert found.kind == "label windows overlap the border"
    assert found.severity is Severity.CRITICAL
    assert found.numbers["customers"] > 100


def test_rows_judged_by_that_were_fitted_on_fail_the_null_runs() -> None:
    world = a_world(3, customers=110, weeks=26)
    honest = world.evidence.split
    both = Split(honest.test, honest.test, (), honest.test_starts_us)

    found = kinds_of(audited(replace(world.evidence, split=both)), None)

    assert found["null run is not null"] is Severity.CRITICAL
    assert found["label windows overlap the border"] is Severity.CRITICAL


def reordered(evidence: Evidence, order: Array) -> Evidence:
    split = evidence.split
    return replace(
        evidence,
        dataset=evidence.dataset.take(order),
        split=Split(split.development[order], split.test[order], (), split.test_starts_us),
        timing=None,
    )


def test_an_order_that_tells_the_label_is_found(world: World) -> None:
    dataset = world.evidence.dataset

    report = audited(reordered(world.evidence, np.lexsort((-dataset.label, dataset.at_us))))

    assert kinds_of(report, None) == {"order tells the label": Severity.CRITICAL}


def test_rows_that_stand_twice_are_found(world: World) -> None:
    every = np.arange(len(world.day))

    twice = reordered(world.evidence, np.sort(np.concatenate([every, every[::20]])))

    assert kinds_of(audited(twice), None)["rows stand twice"] is Severity.CRITICAL
    # A customer may be sent two messages at once.
    sent = kinds_of(audited(replace(twice, is_grid=False)), None)
    assert sent["rows stand twice"] is Severity.INFO


def test_customers_under_two_ids_are_found(world: World) -> None:
    every = np.arange(len(world.day))
    doubled = every[world.code % 10 == 1]
    order = np.concatenate([every, doubled])
    twins = world.evidence.dataset.take(order)
    twins.customer[len(every) :] = [f"{text}-again" for text in twins.customer[len(every) :]]
    by_time = np.argsort(twins.at_us, kind="stable")
    evidence = reordered(world.evidence, order[by_time])

    report = audited(replace(evidence, dataset=twins.take(by_time)))

    assert kinds_of(report, None) == {"customers stand twice": Severity.WARNING}
    assert not report.is_critical


def test_what_has_no_evidence_is_said_to_be_unchecked(world: World) -> None:
    report = audited(replace(world.evidence, timing=None))

    verdicts = {check.name: check.verdict for check in report.checks}

    unchecked = {name for name, verdict in verdicts.items() if verdict is Verdict.NOT_CHECKED}
    assert unchecked == {"knowledge time", "by event time", "truncated replay", "label boundary"}
    assert "4 not checked" in report.verdict


def test_too_few_answers_are_not_judged() -> None:
    world = a_world(2, customers=60, weeks=24)
    dataset = world.evidence.dataset
    few = replace(dataset, label=np.zeros_like(dataset.label))
    few.label[:12] = 1
    split = Split(np.arange(len(few)) < 200, np.arange(len(few)) > 400, (), 0)

    report = audited(
        replace(
            world.evidence,
            dataset=with_magic(few),
            split=split,
            timing=None,
            horizon_us=DAY_US,
            texts=(),
        )
    )

    single = next(check for check in report.checks if check.name == "single features")
    assert single.verdict is Verdict.NOT_CHECKED
    assert "Only 12 rows" in single.note


def with_magic(dataset: Dataset) -> Dataset:
    columns = {**dataset.columns, "magic": dataset.label + 0.0}
    return replace(dataset, columns={n: v for n, v in columns.items() if n == "magic"})


def test_many_rows_are_sampled_by_whole_customers_and_the_report_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.leakage.MOST_ROWS", 2000)

    report = audited(world.with_feature("magic", label_with_noise(world)))

    assert kinds_of(report, "magic")["implausible alone"] is Severity.CRITICAL
    assert "of 7,040 rows, whole customers" in report.notes[-1]


def test_equal_evidence_gives_an_equal_report(world: World) -> None:
    evidence = world.with_feature("magic", label_with_noise(world))

    assert audited(evidence).as_dict() == audited(evidence).as_dict()


def test_the_page_is_whole_and_escapes_what_others_wrote(world: World) -> None:
    evil = "<script>alert(1)</script>"
    report = audited(world.with_feature(evil, label_with_noise(world)))

    page = report.to_html()

    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "http" not in page
    assert "▲ stop" in page
    for check in report.checks:
        assert escape(check.asks) in page
