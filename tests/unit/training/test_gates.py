"""What a model must not be, and the champion's challenger: not worse is the test, not better."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from serving.calibrator import sigmoid
from training.dataset import Dataset
from training.evaluation import calibration_slope
from training.folds import Split
from training.gates.calibration import calibration_rows, error_of, slope_of
from training.gates.paired import Mean, Ranking, chance_above, clustered_mean, codes_of, holm
from training.gates.references import judge
from training.gates.report import GateReport, Row, Verdict, joined, report_from
from training.gates.rows import comparison_rows, latency_row, population_shift, shift_row
from training.gates.sanity import audit_row, sanity_rows
from training.gates.segments import segment_rows, segments
from training.promotion import Margins

MARGINS = Margins()


def drawn(rows: int, seed: int = 1, level: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and labels that are drawn from them."""
    random = np.random.default_rng(seed)
    margin = random.normal(level, 1.0, rows)
    return margin, (random.uniform(size=rows) < sigmoid(margin)).astype(np.int8)


def customers(rows: int) -> np.ndarray:
    return np.array([f"c{i % 300}" for i in range(rows)], dtype=object)


def compared(
    challenger: np.ndarray,
    champion: np.ndarray,
    label: np.ndarray,
    seed: int = 0,
    resamples: int = 400,
) -> dict[str, Row]:
    """The comparison of two sets of margins, by name."""
    rows = comparison_rows(
        sigmoid(challenger),
        sigmoid(champion),
        label,
        np.ones(len(label)),
        np.arange(len(label)) % 2_000,
        margins=MARGINS,
        seed=seed,
        resamples=resamples,
    )
    return {row.name: row for row in rows}


def test_a_model_as_good_as_the_baseline_passes() -> None:
    margin, label = drawn(3_000)
    noisy = margin + np.random.default_rng(5).normal(0, 0.1, 3_000)

    gate = judge(sigmoid(margin), sigmoid(noisy), 0.3, label, customers(3_000), 0)

    assert gate.passed
    assert gate.loss_over_base_rate.value < 0


def test_a_model_that_ranks_reliably_worse_than_the_baseline_fails() -> None:
    margin, label = drawn(3_000)
    noise = np.random.default_rng(5).normal(0, 1, 3_000)

    gate = judge(sigmoid(noise), sigmoid(margin), 0.3, label, customers(3_000), 0)

    assert "AUC is reliably below" in "; ".join(gate.failures)
    assert gate.auc_over_baseline.value < -0.1


def test_a_model_that_is_sure_and_wrong_fails_against_the_base_rate() -> None:
    margin, label = drawn(3_000)

    gate = judge(sigmoid(9 * margin), sigmoid(margin), 0.3, label, customers(3_000), 0)

    assert gate.failures == ("log-loss is reliably worse than always saying the base rate",)


def test_the_gate_s_auc_counts_ties_as_half() -> None:
    label = np.array([0, 1, 0, 1, 1, 0], dtype=np.int8)
    score = np.array([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])

    gate = judge(score, np.full(6, 0.5), 0.5, label, customers(6), 0)

    assert gate.auc_over_baseline.value == pytest.approx(roc_auc_score(label, score) - 0.5)


def test_a_score_that_is_no_probability_fails() -> None:
    margin, label = drawn(300)

    with np.errstate(invalid="ignore"):
        gate = judge(np.full(300, np.nan), sigmoid(margin), 0.3, label, customers(300), 0)

    assert "a score is not a probability" in gate.failures


def test_new_above_old_decides_nothing_equal_models_pass_and_worse_ones_fail() -> None:
    """Two refits that differ by noise, and one that lost a third of its signal; 12 worlds each."""
    equal, worse, above = [], [], 0
    for seed in range(12):
        margin, label = drawn(8_000, seed)
        random = np.random.default_rng(1_000 + seed)
        champion, refit = (margin + random.normal(0, 0.1, len(margin)) for _ in range(2))
        poorer = margin + random.normal(0, 0.7, len(margin))
        above += roc_auc_score(label, refit) > roc_auc_score(label, champion)
        found = compared(refit, champion, label, seed, 100)
        equal.append({name: found[name].verdict for name in ("auc", "log_loss", "lift")})
        worse.append(compared(poorer, champion, label, seed, 100)["auc"].verdict)

    # The naive rule is a coin toss on equal models.
    assert 3 <= above <= 9
    assert sum(set(verdicts.values()) == {Verdict.PASSED} for verdicts in equal) >= 11
    assert set(worse) == {Verdict.FAILED}


def test_a_worse_model_on_few_rows_is_never_passed() -> None:
    verdicts = []
    for seed in range(12):
        margin, label = drawn(300, seed)
        poorer = margin + np.random.default_rng(1_000 + seed).normal(0, 0.5, 300)
        verdicts.append(compared(poorer, margin, label, seed)["auc"].verdict)

    assert Verdict.PASSED not in verdicts
    assert Verdict.INCONCLUSIVE in verdicts


def test_a_model_that_is_better_by_luck_on_few_rows_is_inconclusive() -> None:
    margin, label = drawn(400, 3)
    random = np.random.default_rng(7)
    refits = [margin + random.normal(0, 0.8, 400) for _ in range(2)]
    unlucky, lucky = sorted(refits, key=lambda refit: float(roc_auc_score(label, refit)))

    row = compared(lucky, unlucky, label)["auc"]

    assert row.value > 0
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "these rows cannot tell" in row.detail


def test_the_same_model_passes_every_comparison_exactly() -> None:
    margin, label = drawn(500)

    found = compared(margin, margin, label)

    assert {row.verdict for row in found.values()} == {Verdict.PASSED}
    assert (found["auc"].value, found["auc"].lo, found["auc"].hi) == (0.0, 0.0, 0.0)
    assert found["lift"].value == 1.0
    assert found["score_shift"].value == 0.0


def test_an_over_confident_challenger_loses_on_log_loss_though_it_ranks_alike() -> None:
    margin, label = drawn(8_000)

    found = compared(2 * margin, margin, label)

    assert found["auc"].verdict is Verdict.PASSED
    assert found["log_loss"].verdict is Verdict.FAILED


def test_weights_are_counted_as_so_many_rows() -> None:
    margin, label = drawn(200)
    score = sigmoid(np.round(margin, 1))
    weight = np.random.default_rng(1).integers(1, 4, 200)
    again = np.repeat(np.arange(200), weight)

    once, often = Ranking(score, label), Ranking(score[again], label[again])

    assert once.auc(weight.astype(float)) == pytest.approx(often.auc(np.ones(len(again))))
    assert once.lift(weight.astype(float)) == pytest.approx(often.lift(np.ones(len(again))))


def test_rows_of_one_customer_widen_the_error() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=100), 10)
    weight, alone = np.ones(1_000), np.arange(1_000)
    together = np.repeat(np.arange(100), 10)

    single = clustered_mean(values, weight, alone)
    clustered = clustered_mean(values, weight, together)

    assert clustered.error == pytest.approx(single.error * math.sqrt(10))


def test_holm_keeps_false_alarms_of_many_segments_rare() -> None:
    random = np.random.default_rng(4)
    plain = adjusted = 0
    for _ in range(400):
        chances = [chance_above(Mean(z, 1.0), 0.0) for z in random.normal(size=15)]
        plain += min(chances) < 0.05
        adjusted += min(holm(chances)) < 0.05

    assert plain > 160
    assert adjusted < 40


def a_test(rows: int = 8_000) -> tuple[Dataset, np.ndarray]:
    """Test rows of two mailbox providers, one of them a tenth, and their margins."""
    margin, label = drawn(rows)
    random = np.random.default_rng(2)
    provider = np.where(random.uniform(size=rows) < 0.1, "yahoo", "google").astype(object)
    return (
        Dataset(
            columns={
                "mailbox_provider": provider,
                "tenure_days": random.uniform(0, 900, rows),
                "country": np.full(rows, None, dtype=object),
            },
            label=label,
            at_us=np.arange(rows, dtype=np.int64),
            customer=customers(rows),
            weight=np.ones(rows),
        ),
        margin,
    )


def test_a_segment_that_pays_for_the_others_fails_by_name() -> None:
    test, margin = a_test()
    is_yahoo = test.columns["mailbox_provider"] == "yahoo"
    noise = np.random.default_rng(3).normal(0, 1.5, len(margin))
    spoiled = np.where(is_yahoo, noise - 1, margin)

    rows = segment_rows(
        test, sigmoid(spoiled), sigmoid(margin), codes_of(test.customer), margins=MARGINS
    )

    failed = [row.name for row in rows if row.verdict is Verdict.FAILED]
    assert "segment.mailbox_provider.yahoo" in failed
    assert "segment.mailbox_provider.google" not in failed


def test_equal_models_fail_no_segment_and_a_small_one_blocks_nothing() -> None:
    test, margin = a_test(600)
    random = np.random.default_rng(9)
    scores = [sigmoid(margin + random.normal(0, 0.1, len(margin))) for _ in range(2)]

    rows = segment_rows(test, scores[0], scores[1], codes_of(test.customer), margins=MARGINS)

    by_name = {row.name: row for row in rows}
    assert by_name["segment.mailbox_provider.yahoo"].verdict is Verdict.INCONCLUSIVE
    assert GateReport(tuple(rows)).status == "passed"


def test_segments_leave_out_what_is_the_same_for_all_and_name_the_unknown() -> None:
    test, _ = a_test(600)
    test.columns["tenure_days"][:5] = np.nan

    names = [name for name, _ in segments(test)]

    assert "segment.tenure.unknown" in names
    assert not any("country" in name for name in names)
    assert sum(mask.sum() for name, mask in segments(test) if ".tenure." in name) == 600


def test_the_slope_is_that_of_the_evaluation_and_its_error_covers_the_truth() -> None:
    covered = 0
    for seed in range(100):
        margin, label = drawn(2_000, 500 + seed)
        found = slope_of(sigmoid(2 * margin), label, np.ones(2_000), np.arange(2_000))
        covered += abs(found.value - 0.5) < 1.96 * found.error
        if seed == 0:
            expected = calibration_slope(sigmoid(2 * margin), label)
            assert found.value == pytest.approx(expected, abs=1e-4)

    assert covered >= 90


def calibrated(score: np.ndarray, champion: np.ndarray | None, label: np.ndarray) -> dict[str, Row]:
    rows = calibration_rows(
        score,
        champion,
        label,
        np.ones(len(label)),
        np.arange(len(label)) % 2_000,
        margins=MARGINS,
        seed=0,
    )
    return {row.name: row for row in rows}


def test_a_right_level_passes_alone_and_a_wrong_one_asks_for_a_person() -> None:
    margin, label = drawn(6_000)

    right = calibrated(sigmoid(margin), None, label)
    wrong = calibrated(sigmoid(margin + 0.5), None, label)

    assert {row.verdict for row in right.values()} == {Verdict.PASSED}
    assert wrong["calibration_ratio"].verdict is Verdict.ASKS
    assert wrong["calibration_error"].verdict is Verdict.ASKS


def test_a_wrong_level_fails_beside_a_right_champion_and_is_noted_beside_one_as_wrong() -> None:
    margin, label = drawn(6_000)
    high = sigmoid(margin + 0.5)

    beside_right = calibrated(high, sigmoid(margin), label)
    beside_wrong = calibrated(high, sigmoid(margin + 0.5), label)

    assert beside_right["calibration_ratio"].verdict is Verdict.FAILED
    assert beside_wrong["calibration_ratio"].verdict is Verdict.NOTED


def test_the_calibration_error_of_right_scores_is_what_chance_gives() -> None:
    found = [
        error_of(sigmoid(margin), label, np.ones(1_000))
        for margin, label in (drawn(1_000, seed) for seed in range(50))
    ]

    error, chance = np.mean(found, axis=0)

    assert error == pytest.approx(chance, rel=0.1)


def test_a_moved_distribution_asks_for_a_person_and_the_same_one_does_not() -> None:
    margin, _ = drawn(5_000)
    again, _ = drawn(5_000, 2)

    assert shift_row(sigmoid(again), sigmoid(margin), 0.2).verdict is Verdict.PASSED
    assert shift_row(sigmoid(again + 1), sigmoid(margin), 0.2).verdict is Verdict.ASKS
    assert population_shift(np.full(50, 0.3), np.full(50, 0.3)) == 0.0


def test_a_slow_runtime_asks_for_a_person_unless_it_is_quick_enough_anyway() -> None:
    now = [0.0]

    def taking(seconds: float) -> Callable[[int], object]:
        def score(row: int) -> None:
            now[0] += seconds

        return score

    def verdict(new: float, old: float) -> Verdict:
        row = latency_row(taking(new), taking(old), limit=5.0, timer=lambda: now[0])
        return row.verdict

    assert verdict(0.010, 0.001) is Verdict.ASKS
    assert verdict(0.001, 0.0001) is Verdict.PASSED
    assert verdict(0.004, 0.001) is Verdict.PASSED


def a_split(rows: int) -> Split:
    development = np.arange(rows) < rows // 2
    return Split(development, ~development, (), 0)


def test_too_few_labels_in_the_test_are_inconclusive_never_a_pass() -> None:
    test, _ = a_test(600)

    def status(least: int) -> str:
        rows = sanity_rows(test, a_split(600), least_positives=least, champion_rows=None)
        return GateReport(tuple(rows)).status

    assert status(50) == "passed"
    assert status(200) == "inconclusive"


def test_rows_that_changed_ask_for_a_person_and_name_the_feature() -> None:
    test, _ = a_test(2_000)
    test.columns["tenure_days"][1_200:] = np.nan
    test.columns["opens"] = np.where(np.arange(2_000) < 1_000, np.arange(2_000.0), 0.0)
    # A count that filled up and a history that became known are no fault.
    test.columns["sends_90d"] = np.where(np.arange(2_000) < 1_000, np.arange(2_000.0), 13.0)
    test.columns["order_gap"] = np.where(np.arange(2_000) < 1_000, np.nan, 5.0)

    rows = {
        row.name: row
        for row in sanity_rows(test, a_split(2_000), least_positives=50, champion_rows=9_000.0)
    }

    assert rows["missing_values"].verdict is Verdict.ASKS
    assert "tenure_days +0.80" in rows["missing_values"].detail
    assert rows["missing_values"].detail.startswith("values went missing in 1 features")
    assert rows["silent_features"].detail.endswith("for all in the test period: opens")
    assert "the champion was trained on 9,000" in rows["rows"].detail
    assert rows["label_rate"].verdict is Verdict.PASSED


def an_audit(*severities: str) -> SimpleNamespace:
    findings = tuple(
        SimpleNamespace(severity=s, feature="opens_30d", evidence="knows the future.", cure="x")
        for s in severities
    )
    return SimpleNamespace(findings=findings, is_critical="critical" in severities)


def test_a_critical_finding_fails_and_a_warning_is_noted() -> None:
    assert audit_row(an_audit()).verdict is Verdict.PASSED
    assert audit_row(an_audit("warning")).verdict is Verdict.NOTED

    row = audit_row(an_audit("warning", "critical"))

    assert row.verdict is Verdict.FAILED
    assert "opens_30d: knows the future" in row.detail


def test_a_report_is_failed_before_inconclusive_and_survives_json() -> None:
    failed = Row(name="auc", verdict=Verdict.FAILED, value=-0.1, lo=-0.2, hi=-0.05, limit="x")
    unsure = Row(name="log_loss", verdict=Verdict.INCONCLUSIVE, detail="cannot tell")
    asks = Row(name="score_shift", verdict=Verdict.ASKS, value=0.4, detail="moved <far>")

    report = joined([failed, unsure], [asks])

    assert report.status == "failed"
    assert GateReport((unsure, asks)).failures == ("cannot tell",)
    assert not GateReport((unsure,)).passed
    assert GateReport((asks,)).passed
    assert dict(report.metrics())["gate.auc.lo"] == -0.2
    assert report_from(json.loads(json.dumps(report.as_dict()))).as_dict() == report.as_dict()
    assert "moved &lt;far&gt;" in report.to_html("Gates")
