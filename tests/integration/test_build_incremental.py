"""Any history, cut into any batches and built after each: as if built once, to the last bit."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo import contract
from tests.integration.history import reference
from tests.integration.history.building import Installation, digests
from tests.integration.history.histories import START, THROUGH, Row, histories

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]


@settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
@given(
    batches=st.lists(histories(15), min_size=1, max_size=3),
    days=st.lists(st.integers(0, 480), min_size=3, max_size=3).map(sorted),
)
def test_building_after_each_batch_equals_building_once(
    batches: list[list[Row]], days: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        stepwise, at_once = (Installation(Path(folder) / name) for name in ("steps", "once"))
        for batch, day in zip(batches, days, strict=False):
            stepwise.append(batch)
            stepwise.build(through=START + timedelta(days=day))
            at_once.append(batch)
        last = stepwise.build(through=THROUGH)
        assert digests(last) == digests(at_once.build(full=True, through=THROUGH))
        assert stepwise.contents() == at_once.contents()
        _check_digests_were_kept_right(stepwise)


def _check_digests_were_kept_right(installation: Installation) -> None:
    again = installation.build(full=True, through=THROUGH)
    assert digests(again) == digests(installation.build(through=THROUGH))


@settings(deadline=None, max_examples=3, suppress_health_check=list(HealthCheck))
@given(history=histories(30))
def test_the_stored_tables_hold_what_the_reference_counts(history: list[Row]) -> None:
    with TemporaryDirectory() as folder:
        installation = Installation(Path(folder) / "home")
        installation.append(history)
        # The log keeps one of two rows that say the same.
        kept = installation.log()
        installation.build(through=THROUGH)
        expected = {
            contract.ACTIVITY: reference.activity(kept),
            contract.CUSTOMER_DAILY: reference.daily(kept, THROUGH),
            contract.CUSTOMER_PROFILE: reference.profile(kept),
            # Nothing of these says where it was sent from.
            contract.CUSTOMER_PLACEMENT: [],
        }
        assert {view: installation.changes(view) for view in contract.VIEWS} == expected
