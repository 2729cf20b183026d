"""What a build promises: incremental equals full, committed at once, nothing done twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import md5
from pathlib import Path

import pyarrow.compute as pc
import pytest
from filelock import FileLock

from feature_repo import contract
from feature_repo.errors import NotReady, StoreUnavailable
from feature_repo.history import duck
from feature_repo.history.build import build
from tests.integration.history.building import Installation, digests
from tests.integration.history.histories import START, THROUGH, Row, row

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)
DAY = timedelta(days=1)


def history(first: int, last: int) -> list[Row]:
    """Two customers' opens and purchases on days `first` to `last`, known at once."""
    return [
        row(
            f"{customer}{kind}{day}",
            customer,
            type=kind,
            event_time=START + day * DAY + timedelta(hours=7),
            country="FR",
            amount=9.99 if kind == "purchased" else None,
        )
        for day in range(first, last)
        for customer in ("ann", "bob")
        for kind in ("opened", "purchased")
    ]


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    installation = Installation(tmp_path / "home")
    installation.append(history(0, 5))
    return installation


def full(home: Installation, tmp_path: Path, *batches: list[Row]) -> Installation:
    """Another installation with the same log, built at once."""
    other = Installation(tmp_path / "other")
    for batch in batches:
        other.append(batch)
    other.build(full=True)
    return other


def test_an_empty_log_is_not_ready_and_the_message_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="foresend import"):
        Installation(tmp_path).build()


def test_a_build_after_nothing_new_changes_nothing(home: Installation) -> None:
    first = home.build()
    second = home.build()
    assert second.tables == first.tables
    assert (first.customers_touched, second.customers_touched) == (2, 0)


def test_new_events_are_appended_and_no_file_is_rewritten(
    home: Installation, tmp_path: Path
) -> None:
    home.build(through=START + 5 * DAY)
    before = {view: set(home.table(view).files()) for view in contract.VIEWS}
    home.append([event for event in history(5, 8) if event["customer_id"] == "ann"])
    built = home.build(through=START + 8 * DAY)
    assert all(before[view] <= set(home.table(view).files()) for view in contract.VIEWS)
    assert built.tables["activity"].rows == 5 * 2 + 3
    other = Installation(tmp_path / "other")
    other.append(history(0, 5))
    other.append([event for event in history(5, 8) if event["customer_id"] == "ann"])
    assert digests(other.build(through=START + 8 * DAY)) == digests(built)
    assert other.contents() == home.contents()


def test_a_backfill_replaces_what_it_overtakes(home: Installation, tmp_path: Path) -> None:
    home.build()
    late = [row("late", "ann", type="clicked", event_time=START + DAY)]
    home.append(late)
    built = home.build()
    other = full(home, tmp_path, history(0, 5), late)
    assert home.contents() == other.contents()
    assert digests(built) == digests(other.build())


def test_a_correction_touches_only_its_customer(home: Installation) -> None:
    home.build()
    moment = START + 6 * DAY
    home.append([row("annopened0", "ann", op="retract", received_time=moment)])
    assert home.build().customers_touched == 1


def test_windows_that_expire_without_events_are_added_later(
    home: Installation, tmp_path: Path
) -> None:
    for day in (4, 8, 400):
        built = home.build(through=START + day * DAY)
    other = Installation(tmp_path / "other")
    other.append(history(0, 5))
    assert digests(built) == digests(other.build(through=START + 400 * DAY))


def test_going_back_in_through_removes_later_rows(home: Installation, tmp_path: Path) -> None:
    home.build(through=THROUGH)
    built = home.build(through=START + 9 * DAY)
    other = Installation(tmp_path / "other")
    other.append(history(0, 5))
    assert digests(built) == digests(other.build(through=START + 9 * DAY))


def test_a_changed_declaration_builds_everything_anew(home: Installation) -> None:
    first = home.build()
    table = home.table(contract.ACTIVITY)
    state = table.state()
    assert state is not None
    foreign = replace(state, absorbed=replace(state.absorbed, declaration="another"))
    table.commit([], foreign, replaced=None)
    assert home.rows(contract.ACTIVITY) == []
    assert digests(home.build()) == digests(first)


def test_full_gives_equal_content_again(home: Installation) -> None:
    assert digests(home.build()) == digests(home.build(full=True))


def test_two_builds_at_once_are_refused(home: Installation) -> None:
    home.settings.state_path.mkdir(parents=True)
    with (
        FileLock(home.settings.state_path / "build.lock"),
        pytest.raises(StoreUnavailable, match="Another build"),
    ):
        home.build()


def test_progress_names_every_table(home: Installation) -> None:
    heard: list[tuple[str, float]] = []
    build(home.settings, through=THROUGH, progress=lambda *told: heard.append(told))
    assert {(view, 1.0) for view in contract.VIEWS} <= set(heard)


def test_a_bucket_in_many_files_is_merged_by_the_next_build_that_touches_it(
    home: Installation, tmp_path: Path
) -> None:
    home.append(history(5, 40))
    home.build(through=START + 40 * DAY)
    table = home.table(contract.ACTIVITY)
    state = table.state()
    assert state is not None
    with duck.connect(home.settings) as con:
        rows = table.rows(con).to_pyarrow().cast(table.schema)
    ann, bob = (rows.filter(pc.field("customer_id") == name) for name in ("ann", "bob"))
    bucket_of = {name: md5(name.encode()).hexdigest()[0] for name in ("ann", "bob")}
    scattered = [
        action
        for name, mine in (("ann", ann), ("bob", bob))
        for batch in mine.to_batches(max_chunksize=1)
        for action in table.write(bucket_of[name], [batch])
    ]
    table.commit(scattered, state, replaced=None)
    assert table.crowded() == sorted(bucket_of.values())
    home.append([event for event in history(40, 41) if event["customer_id"] == "ann"])
    home.build(through=START + 41 * DAY)
    assert table.crowded() == [bucket_of["bob"]]
    other = Installation(tmp_path / "other")
    other.append(history(0, 40))
    other.append([event for event in history(40, 41) if event["customer_id"] == "ann"])
    other.build(through=START + 41 * DAY)
    assert home.contents() == other.contents()
