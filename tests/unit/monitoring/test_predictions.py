from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from feature_repo.settings import Settings
from monitoring.errors import NoPredictions
from monitoring.predictions import read_window
from monitoring.windows import Window
from serving.asks import AskedCustomer
from serving.prediction_log import PredictionBatch, write_batches

END = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ("opens_7d", "country")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def predict(
    settings: Settings,
    opens: dict[str, float],
    *,
    at: datetime,
    version: str = "7",
    target: str = "click_7d",
    names: tuple[str, ...] = NAMES,
    country: str | None = "GB",
    known: bool = True,
) -> None:
    rows = len(opens)
    values = {"opens_7d": list(opens.values()), "country": [np.nan] * rows, "other": [1.0] * rows}
    batch = PredictionBatch(
        scored_at=at,
        target=target,
        model_version=version,
        feature_service="send_score_v1",
        feature_names=names,
        text_names=("country",) if "country" in names else (),
        customers=[AskedCustomer(customer) for customer in opens],
        request_ids=["r"] * rows,
        send_at=np.full(rows, at.timestamp()),
        scores=np.array(list(opens.values())) / 100,
        as_of=np.full(rows, np.nan),
        degraded=[None] * rows,
        features=np.column_stack([values[name] for name in names]),
        texts=[np.full(rows, country, dtype=object)] if "country" in names else [],
        modelled=np.full(rows, known),
    )
    write_batches(settings.predictions_path, [batch])


def read(settings: Settings, *, days: int = 90, most: int = 100) -> Window:
    return read_window(
        settings, "click_7d", NAMES, days=days, end=END, champion="7", most_customers=most
    )


def test_the_newest_prediction_of_each_customer_is_kept(settings: Settings) -> None:
    predict(settings, {"a": 1, "b": 2}, at=END - timedelta(days=30))
    predict(settings, {"a": 3}, at=END - timedelta(hours=2))
    predict(settings, {"a": 4}, at=END - timedelta(hours=1))

    window = read(settings)

    assert sorted(window.features["opens_7d"].tolist()) == [2.0, 4.0]
    assert (window.rows, window.customers) == (4, 2)


def test_the_window_includes_its_first_moment_and_not_its_end(settings: Settings) -> None:
    predict(settings, {"first": 1}, at=END - timedelta(days=7))
    predict(settings, {"before": 2}, at=END - timedelta(days=7, microseconds=1))
    predict(settings, {"end": 3}, at=END)

    assert read(settings, days=7).features["opens_7d"].tolist() == [1.0]


def test_other_targets_are_not_read(settings: Settings) -> None:
    predict(settings, {"a": 1}, at=END - timedelta(days=1))
    predict(settings, {"b": 2}, at=END - timedelta(days=1), target="purchase_30d")

    assert read(settings).customers == 1


def test_missing_numbers_and_texts_arrive_as_missing(settings: Settings) -> None:
    predict(settings, {"a": float("nan")}, at=END - timedelta(days=1), country=None)

    window = read(settings)

    assert np.isnan(window.columns["opens_7d"]).all()
    assert window.columns["country"].tolist() == [None]


def test_a_text_that_is_missing_from_every_row_of_the_champion_is_still_compared(
    settings: Settings,
) -> None:
    predict(settings, {"a": 1, "b": 2}, at=END - timedelta(days=1), country=None)
    predict(settings, {"c": 3}, at=END - timedelta(days=1), version="6", country="GB")

    assert read(settings).columns["country"].tolist().count(None) == 2


def test_rows_of_a_version_without_the_feature_are_not_missing_values(settings: Settings) -> None:
    predict(settings, {"a": 1}, at=END - timedelta(days=2), version="6", names=("other",))
    predict(settings, {"b": 2}, at=END - timedelta(days=1))

    window = read(settings)

    assert window.customers == 2
    assert window.columns["opens_7d"].tolist() == [2.0]
    assert window.columns["country"].tolist() == ["GB"]


def test_answers_without_features_are_counted_apart(settings: Settings) -> None:
    predict(settings, {"a": 1, "b": 2}, at=END - timedelta(days=1), known=False)
    predict(settings, {"c": 3}, at=END - timedelta(days=1))

    window = read(settings)

    assert (window.customers, window.without_features) == (1, 2)


def test_too_many_customers_are_thinned_alike_on_every_day(settings: Settings) -> None:
    many = {f"c{i}": float(i) for i in range(400)}
    predict(settings, many, at=END - timedelta(days=2))
    predict(settings, many, at=END - timedelta(days=1))

    window = read(settings, most=100)

    assert window.one_in >= 4
    assert 0 < window.customers <= 100
    assert len(set(window.features["opens_7d"].tolist())) == window.customers
    assert window.rows == 800


def test_an_empty_window_says_where_predictions_are(settings: Settings) -> None:
    predict(settings, {"a": 1, "b": 2}, at=END - timedelta(days=200))

    with pytest.raises(NoPredictions, match=r"holds 2 outside it, from 2025-08-13 12:00") as found:
        read(settings)

    assert "--as-of" in str(found.value)


def test_an_empty_log_says_how_it_is_filled(settings: Settings) -> None:
    with pytest.raises(NoPredictions, match="POST /v1/score"):
        read(settings)
