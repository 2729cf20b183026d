"""Seed lists: rows and counts, by mapping; pending never counts and nothing is lost silently."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from feature_repo.deliverability.reading import Taken, Why
from feature_repo.deliverability.seed_mapping import SHIPPED, SeedMapping, load_seed_mapping
from feature_repo.deliverability.seeds import parse_seeds
from feature_repo.errors import ConfigError, UnusableInput

FOLDER = Path(__file__).parents[3] / "fixtures" / "seeds"
TODAY = date(2026, 3, 6)

Told = dict[tuple[str, str], tuple[float | None, float | None]]


def told(taken: Taken) -> Told:
    """Value and n by mailbox provider and placement."""
    return {
        (one.mailbox_provider, one.metric.removeprefix("seed_")): (one.value, one.n)
        for one in taken.readings
    }


def csv_of(
    *rows: str, header: str = "sent_at,sending_domain,seed_email,provider,placement"
) -> bytes:
    return "\n".join([header, *rows]).encode()


def seed(number: int, placement: str, provider: str = "gmail") -> str:
    return f"2026-03-03T10:00:00Z,shop.example,seed{number}@x.example,{provider},{placement}"


def test_rows_per_seed_are_counted_per_provider() -> None:
    placements = ["inbox", "Primary", "promotions", "SPAM", "missing", "pending"]
    taken = parse_seeds(csv_of(*(seed(n, p) for n, p in enumerate(placements))), None, TODAY)

    assert told(taken) == {
        ("google", "inbox"): (2.0, 5.0),
        ("google", "tab"): (1.0, 5.0),
        ("google", "spam"): (1.0, 5.0),
        ("google", "missing"): (1.0, 5.0),
    }
    assert taken.pending == 1
    assert taken.rejects == []


def test_what_is_only_pending_says_nothing() -> None:
    taken = parse_seeds(csv_of(seed(1, "pending"), seed(2, "pending")), None, TODAY)

    assert taken.readings == []
    assert taken.pending == 2


def test_the_last_row_of_a_mailbox_counts() -> None:
    taken = parse_seeds(csv_of(seed(1, "pending"), seed(1, "spam"), seed(1, "inbox")), None, TODAY)

    assert told(taken)["google", "inbox"] == (1.0, 1.0)
    assert told(taken)["google", "spam"] == (0.0, 1.0)


def test_bad_rows_are_rejected_with_their_reason_and_the_rest_counts() -> None:
    rows = [
        seed(1, "inbox"),
        seed(2, "the attic"),
        "yesterday,shop.example,a@x.example,gmail,inbox",
        "2031-01-01,shop.example,a@x.example,gmail,inbox",
        "2026-03-03,not a domain,a@x.example,gmail,inbox",
        "2026-03-03,shop.example,,,inbox",
        "2026-03-03,shop.example",
        "",
    ]
    taken = parse_seeds(csv_of(*rows), None, TODAY)

    assert told(taken)["google", "inbox"] == (1.0, 1.0)
    assert [(one.where, one.reason) for one in taken.rejects] == [
        ("row 2", Why.UNKNOWN_PLACEMENT),
        ("row 3", Why.BAD_TIME),
        ("row 4", Why.IMPOSSIBLE_DAY),
        ("row 5", Why.BAD_DOMAIN),
        ("row 6", Why.NO_PROVIDER),
        ("row 7", Why.BROKEN_ROW),
    ]


def test_an_address_in_the_wrong_column_is_not_told() -> None:
    row = (
        "2026-03-03T10:00:00Z,shop.example,x,gmail,jane.doe.of.the.marketing.team@customer.example"
    )
    taken = parse_seeds(csv_of(row), None, TODAY)

    assert "jane" not in taken.rejects[0].detail


def test_the_provider_is_known_by_the_mailbox_when_it_is_not_named() -> None:
    rows = [
        "2026-03-03,shop.example,s@outlook.com,inbox",
        "2026-03-03,shop.example,s@x.example,spam",
    ]
    raw = csv_of(*rows, header="date,domain,email,folder")

    assert {family for family, _ in told(parse_seeds(raw, None, TODAY))} == {"microsoft", "other"}


def test_counts_per_provider_are_taken_as_they_are() -> None:
    taken = parse_seeds((FOLDER / "counts.csv").read_bytes(), None, TODAY)

    assert told(taken)["google", "inbox"] == (5.0, 8.0)
    assert told(taken)["google", "tab"] == (2.0, 8.0)
    assert told(taken)["microsoft", "spam"] == (5.0, 8.0)
    assert "yahoo" not in {family for family, _ in told(taken)}
    assert taken.pending == 6
    assert {one.part for one in taken.readings} == {"t1"}
    assert [one.reason for one in taken.rejects] == [
        Why.BAD_NUMBER,
        Why.BAD_DOMAIN,
        Why.BAD_NUMBER,
        Why.BROKEN_ROW,
    ]


def test_a_default_domain_stands_in_where_none_is_named() -> None:
    raw = (FOLDER / "counts.csv").read_bytes()
    taken = parse_seeds(raw, None, TODAY, sending_domain="mail.example")

    found = {one.mailbox_provider: one.sending_domain for one in taken.readings}
    assert found["united_internet"] == "mail.example"
    assert found["google"] == "shop.example"


def test_an_own_mapping_reads_an_own_form() -> None:
    mapping = load_seed_mapping(str(FOLDER / "semicolons.yaml"))
    taken = parse_seeds((FOLDER / "semicolons.csv").read_bytes(), mapping, TODAY)

    assert told(taken)["google", "inbox"] == (1.0, 2.0)
    assert told(taken)["google", "tab"] == (1.0, 2.0)
    assert told(taken)["microsoft", "spam"] == (1.0, 1.0)
    # Half past midnight in Berlin is the day before in UTC.
    assert {one.day for one in taken.readings} == {date(2026, 3, 2)}
    assert {one.sending_domain for one in taken.readings} == {"shop.example"}
    assert taken.pending == 1
    assert [one.reason for one in taken.rejects] == [Why.UNKNOWN_PLACEMENT]


def test_mailguns_counts_are_read_per_provider() -> None:
    taken = parse_seeds((FOLDER / "mailgun.json").read_bytes(), None, TODAY)

    assert told(taken) == {
        ("google", "inbox"): (3.0, 5.0),
        ("google", "tab"): (0.0, 5.0),
        ("google", "spam"): (1.0, 5.0),
        ("google", "missing"): (1.0, 5.0),
        ("microsoft", "inbox"): (0.0, 4.0),
        ("microsoft", "tab"): (0.0, 4.0),
        ("microsoft", "spam"): (4.0, 4.0),
        ("microsoft", "missing"): (0.0, 4.0),
    }
    assert taken.pending == 1
    assert [(one.where, one.reason) for one in taken.rejects] == [("result 2", Why.NO_COUNTS)]


@pytest.mark.parametrize("told_json", [{}, [1], {"result": {"delivery_stats": [1]}}, {"items": []}])
def test_json_without_counts_gives_no_reading(told_json: object) -> None:
    assert parse_seeds(json.dumps(told_json).encode(), None, TODAY).readings == []


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"a,b\n1,2\n", "fit no mapping"),
        (b"", "fit no mapping"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_seed_list_is_unusable(raw: bytes, problem: str) -> None:
    with pytest.raises(UnusableInput, match=problem):
        parse_seeds(raw, None, TODAY)


def test_what_is_missing_is_named_in_the_files_own_words() -> None:
    with pytest.raises(UnusableInput, match="a column sending_domain or from_domain"):
        parse_seeds(b"sent_at,provider,placement\n", None, TODAY)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_mappings_are_valid(name: str) -> None:
    assert load_seed_mapping(name).label == f"{name}@1"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"columns": {"placement": "p", "provider": "q"}}, "sent_at is missing"),
        ({"columns": {"sent_at": "s", "provider": "q"}}, "needs columns placement"),
        ({"columns": {"sent_at": "s", "placment": "p"}}, "columns.placment is not one of"),
        ({"placements": {"inbox": ["x"], "spam": ["x"]}}, "in one list"),
        ({"sent_at": {"zone": "Mars/Base"}}, "Mars/Base"),
        ({"form": "per_provider"}, "not one of|needs columns"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(change: dict[str, object], problem: str) -> None:
    good = {
        "name": "own",
        "version": 1,
        "form": "per_seed",
        "columns": {"sent_at": "s", "provider": "q", "placement": "p"},
    }
    SeedMapping.model_validate(good)

    with pytest.raises(ValueError, match=problem):
        SeedMapping.model_validate({**good, **change})


def test_a_mapping_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="seed_list, seed_counts"):
        load_seed_mapping("nowhere.yaml")
