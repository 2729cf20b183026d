"""Files as users have them: every damage is told with its cure, and no row is lost in silence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import UnusableInput
from feature_repo.ingest.csv_rows import open_csv
from feature_repo.ingest.files import inspect
from feature_repo.ingest.importer import silent
from feature_repo.ingest.outcome import ImportSummary

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)

Run = Callable[..., ImportSummary]
Write = Callable[[str, str | bytes], Path]

HEADER = "type,customer_id,event_time,campaign_id\n"
GOOD = "opened,c1,2024-03-04T10:00:00Z,spring\n"


def json_lines(*rows: dict[str, Any]) -> str:
    """Rows of a good canonical file, each changed by a dict."""
    good = {"type": "opened", "customer_id": "c1", "event_time": "2024-03-04T10:00:00Z"}
    return "".join(json.dumps({**good, **row}) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "is empty"),
        ("a.parquet", b"", "is empty"),
        ("a.csv", b" \n\n", "nothing but white space"),
        ("a.csv", HEADER.encode(), "has no rows"),
        ("a.csv", b"type,type\na,b\n", "'type' more than once"),
        ("a.csv", b"type,,x\na,b,c\n", "column 2 of the header has no name"),
        ("a.csv", b"kind,who\na,b\n", "it has kind, who. Give --mapping"),
        ("a.csv", HEADER.encode() + b"opened,M\xfcller,,\n", r"not UTF-8 \(line 2\).*WINDOWS-1252"),
        ("a.csv", (HEADER + GOOD).encode("utf-16"), "iconv -f UTF-16"),
        ("a.csv", (HEADER + GOOD).encode() + b"\0", "NUL bytes"),
        # Arrow alone would drop the rest of this file without a word.
        ("a.csv", (HEADER + GOOD + 'opened,"c2,x,y\n' + GOOD).encode(), "quote .* never closed"),
        ("a.parquet", b"hello", "does not begin with PAR1"),
        ("a.parquet", b"PAR1 and then nothing more", "damaged or not parquet"),
        ("a.csv.gz", b"\x1f\x8b\x08 broken", "cannot be read"),
        ("a.csv.gz", gzip.compress((HEADER + GOOD * 999).encode())[:-9], "cannot be read"),
        ("a.xlsx", b"PK\x03\x04 sheet", "save the sheet as CSV"),
        ("a.dat", b"what", "no known suffix"),
        ("a.json", b'[{"type": "opened"}]', "one object per line"),
        ("a.jsonl", b"hello\nworld\n", "none of its first lines is a JSON object"),
    ],
)
def test_an_unusable_file_is_told_with_its_cure(
    run: Run, write: Write, name: str, content: bytes, told: str
) -> None:
    with pytest.raises(UnusableInput, match=told):
        run(write(name, content))


def test_a_missing_file_and_a_folder_are_told(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="No such file"):
        run(tmp_path / "absent.csv")
    with pytest.raises(UnusableInput, match="is a folder"):
        run(tmp_path)


def test_a_parquet_file_that_is_damaged_inside_is_told(run: Run, tmp_path: Path) -> None:
    table = pa.table({name: ["x" * 50] * 999 for name in ("type", "customer_id", "event_time")})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[30:400] = b"\xff" * 370
    (tmp_path / "a.parquet").write_bytes(content)

    with pytest.raises(UnusableInput, match="damaged"):
        run(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "content",
    [
        HEADER + GOOD,
        HEADER + GOOD.strip(),  # no newline at the end
        "\ufeff" + HEADER + GOOD,
        "\n\n" + HEADER + "\n" + GOOD + "\n\n",
        (HEADER + GOOD).replace("\n", "\r\n"),
        (HEADER + GOOD).replace(",", ";"),
        (HEADER + GOOD).replace(",", "\t"),
        (HEADER + GOOD).replace(",", "|"),
        (HEADER + GOOD).upper().replace("T10:00:00Z", "T10:00:00Z"),
        HEADER + GOOD.replace("c1", '"c1"'),
    ],
)
def test_the_usual_spellings_of_csv_are_read(run: Run, write: Write, content: str) -> None:
    assert run(write("a.csv", content)).events == 1


def test_gzip_is_read(run: Run, write: Write) -> None:
    assert run(write("a.csv.gz", gzip.compress((HEADER + GOOD).encode()))).events == 1
    assert run(write("a.jsonl.gz", gzip.compress(json_lines({}).encode()))).events == 1


def test_rows_keep_their_numbers_beside_broken_ones(write: Write) -> None:
    lines = ["x\n" if n % 3 == 0 else f"opened,c{n},t,{n}\n" for n in range(1, 100)]

    file = inspect(write("a.csv", HEADER + "".join(lines)), silent)
    source = open_csv(file, silent, block_bytes=64)  # so that the rows come in many batches
    table = source.reader().read_all()

    assert [f"c{n}" for n in table.column("row_no").to_pylist()] == table.column("c1").to_pylist()
    assert [row.row for row in source.broken] == list(range(3, 100, 3))


def test_blank_lines_of_jsonl_are_no_rows_but_count_as_lines(run: Run, write: Write) -> None:
    summary = run(write("a.jsonl", json_lines({}) + "\n  \n{oops\n"))

    assert summary.rows == 2
    assert summary.quarantine is not None
    assert '"row":4' in summary.quarantine.read_text()


def test_a_last_line_cut_short_is_one_bad_row(run: Run, write: Write) -> None:
    summary = run(write("a.jsonl", json_lines({}) + json_lines({})[:40]))

    assert (summary.events, summary.quarantined) == (1, {"broken_line": 1})


def test_a_key_that_only_late_lines_have_is_read(run: Run, write: Write) -> None:
    rows = [{"customer_id": f"c{n}"} for n in range(1500)] + [{"type": "purchased", "amount": -1}]

    assert run(write("a.jsonl", json_lines(*rows))).quarantined == {"bad_amount": 1}
