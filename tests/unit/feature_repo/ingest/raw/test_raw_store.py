"""The raw store: what was acknowledged is there, what was not is not seen."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.raw.appender import RawStoreUnavailable
from feature_repo.ingest.raw.record import HEAD, BadReference, RawRecord, encode, frame
from feature_repo.ingest.raw.segment import SegmentFile, claim
from feature_repo.ingest.raw.store import RawStore

AT = datetime(2026, 11, 24, 7, 30, 0, 123456, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


def record(body: bytes = b'[{"event":"open"}]', provider: str = "sendgrid") -> RawRecord:
    headers = (("content-type", "application/json"),)
    return RawRecord(provider=provider, received_time=AT, headers=headers, body=body)


def bodies(store: RawStore) -> list[bytes]:
    return [found.body for _, found in store.records()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RawStore]:
    opened = RawStore(tmp_path / "raw", window_s=0)
    yield opened
    opened.close()
    opened.abandon()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow: what a full disk does, one error number apart."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@given(body=st.binary(max_size=4000), times=st.integers(0, 4 * 10**15))
def test_a_record_comes_back_as_it_went_in(body: bytes, times: int) -> None:
    received = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=times)
    sent = RawRecord(
        provider="ses", received_time=received, headers=(("x-amz-sns-topic-arn", "ü"),), body=body
    )
    flags, payload = encode(sent)
    descriptor = os.memfd_create("segment")
    os.write(descriptor, HEAD + frame(len(HEAD), flags, payload))

    found = next(SegmentFile(descriptor).frames()).record("a.seg")
    os.close(descriptor)

    assert (found.provider, found.received_time, found.headers, found.body) == (
        sent.provider,
        sent.received_time,
        sent.headers,
        sent.body,
    )


def test_an_appended_record_is_read_by_its_reference_and_in_order(store: RawStore) -> None:
    refs = [store.append(record(b"%d" % number)) for number in range(3)]

    assert [store.read(ref).body for ref in refs] == [b"0", b"1", b"2"]
    assert store.read(f"{refs[1]}#7").ref == refs[1]
    assert bodies(store) == [b"0", b"1", b"2"]


def test_repetitive_bodies_are_kept_compressed(store: RawStore) -> None:
    ref = store.append(record(b"a" * 100_000))

    assert store.size(store.segments()[0]) < 2_000
    assert store.read(ref).body == b"a" * 100_000


def test_reading_resumes_after_a_cursor(store: RawStore) -> None:
    for number in range(4):
        store.append(record(b"%d" % number))
    cursors = [cursor for cursor, _ in store.records()]

    assert [found.body for _, found in store.records(cursors[1])] == [b"2", b"3"]
    assert list(store.records(cursors[3])) == []


def test_concurrent_appends_share_syncs(tmp_path: Path) -> None:
    syncs: list[int] = []
    may_sync = threading.Event()

    def sync(descriptor: int) -> None:
        syncs.append(descriptor)
        may_sync.wait(10)
        os.fdatasync(descriptor)

    store = RawStore(tmp_path, window_s=0, sync=sync)
    pending = [store.submit(record(b"%d" % number)) for number in range(50)]
    may_sync.set()
    wait(pending)
    store.close()

    assert sorted(bodies(store)) == sorted(b"%d" % number for number in range(50))
    # One for the head of the segment, one for what came first, one for all that waited.
    assert len(syncs) <= 3


def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: Path) -> None:
    may_sync = threading.Event()

    def sync(_: int) -> None:
        may_sync.wait(10)

    store = RawStore(tmp_path, window_s=0, sync=sync)
    pending = store.submit(record())

    assert not pending.done()
    assert bodies(store) == []
    may_sync.set()
    assert store.read(pending.result(10)).body == record().body
    store.close()


def test_a_torn_tail_is_ignored_wherever_it_was_torn_and_cut_off_on_adoption(
    store: RawStore, tmp_path: Path
) -> None:
    first, second = store.append(record(b"first")), store.append(record(b"second"))
    whole = (store.folder / store.segments()[0]).read_bytes()
    begin = int(second.rpartition(":")[2])

    for cut in range(begin, len(whole)):
        folder = tmp_path / f"torn-{cut}"
        folder.mkdir()
        segment = folder / store.segments()[0]
        segment.write_bytes(whole[:cut])
        other = RawStore(folder)

        assert bodies(other) == [b"first"]
        assert other.adopt(lambda _: False) == [segment.name]
        assert segment.stat().st_size == begin
        assert other.read(first).body == b"first"
        other.abandon()


def test_a_damaged_record_costs_no_other(store: RawStore) -> None:
    refs = [store.append(record(b"%d" % number * 50)) for number in range(3)]
    segment = store.folder / store.segments()[0]
    damaged = bytearray(segment.read_bytes())
    damaged[int(refs[1].rpartition(":")[2]) + 30] ^= 1
    segment.write_bytes(damaged)

    assert bodies(store) == [b"0" * 50, b"2" * 50]
    with pytest.raises(BadReference, match="no record"):
        store.read(refs[1])


@pytest.mark.parametrize("short", range(6))
def test_what_follows_a_damaged_record_is_found_wherever_it_begins(
    store: RawStore, tmp_path: Path, short: int
) -> None:
    # The search reads a megabyte at a time; the next record's mark lies across the border.
    probe = RawStore(tmp_path / "probe", window_s=0)
    probe.append(record(os.urandom(2000)))
    overhead = int(probe.append(record()).rpartition(":")[2]) - 2000
    probe.close()
    store.append(record(os.urandom(17 + (1 << 20) - short - overhead)))
    store.append(record(b"next"))
    segment = store.folder / store.segments()[0]
    damaged = bytearray(segment.read_bytes())
    damaged[500_000] ^= 1
    segment.write_bytes(damaged)

    assert bodies(store) == [b"next"]


def test_reading_resumes_in_a_later_segment(tmp_path: Path) -> None:
    clock = Clock()
    store = RawStore(tmp_path, window_s=0, clock=clock, segment_bytes=4096)
    for _ in range(3):
        clock.now += timedelta(seconds=1)
        store.append(record(os.urandom(5000)))
    store.close()
    cursors = [cursor for cursor, _ in store.records()]

    assert len(list(store.records(cursors[1]))) == 1
    assert RawStore(tmp_path / "nowhere").segments() == []
    assert store.size("gone.seg") == 0
    assert list(store.records_of("gone.seg")) == []


def test_a_file_that_is_no_segment_is_left_alone(store: RawStore) -> None:
    store.append(record())
    (store.folder / "a.seg").write_bytes(b"something else")

    assert store.adopt(lambda _: False) == []
    assert (store.folder / "a.seg").read_bytes() == b"something else"
    assert bodies(store) == [record().body]


def test_bytes_of_a_body_that_look_like_a_record_are_not_taken_for_one(store: RawStore) -> None:
    flags, payload = encode(record(b"forged"))
    ref = store.append(record(b"x" + frame(16, flags, payload)))
    segment = store.folder / store.segments()[0]
    damaged = bytearray(segment.read_bytes())
    damaged[int(ref.rpartition(":")[2])] ^= 1
    segment.write_bytes(damaged)

    assert bodies(store) == []


def test_a_full_disk_keeps_nothing_of_the_record_and_the_next_one_is_kept(store: RawStore) -> None:
    store.append(record(b"before"))
    with full_disk():
        for _ in range(3):
            with pytest.raises(RawStoreUnavailable, match="Free space"):
                store.append(record(b"during"))
        assert bodies(store) == [b"before"]

    store.append(record(b"after"))

    assert bodies(store) == [b"before", b"after"]
    assert len(list(store.folder.iterdir())) == 2


def test_a_record_that_could_not_be_synced_is_not_replaced_at_its_place(tmp_path: Path) -> None:
    failing = False

    def sync(descriptor: int) -> None:
        if failing:
            raise OSError(5, "Input/output error")
        os.fdatasync(descriptor)

    store = RawStore(tmp_path, window_s=0, sync=sync)
    store.append(record(b"before"))
    failing = True
    with pytest.raises(RawStoreUnavailable, match="EIO"):
        store.append(record(b"during"))
    failing = False
    store.append(record(b"after"))
    store.close()

    assert bodies(store) == [b"before", b"after"]
    assert len(store.segments()) == 2


@pytest.mark.parametrize("limit", [{"segment_bytes": 200}, {"segment_age_s": 60.0}])
def test_segments_end_by_size_and_by_age(tmp_path: Path, limit: dict[str, float]) -> None:
    clock = Clock()
    store = RawStore(tmp_path, window_s=0, clock=clock, **limit)  # type: ignore[arg-type]  # by test
    for number in range(3):
        clock.now = AT + timedelta(minutes=number)
        store.append(record(os.urandom(200)))
    store.close()

    assert len(store.segments()) == 3
    assert len(bodies(store)) == 3


def test_a_segment_belongs_to_one_process_until_it_is_released(store: RawStore) -> None:
    store.append(record())
    (segment,) = store.segments()
    other = RawStore(store.folder)

    assert claim(store.folder / segment) is None
    assert other.adopt(lambda _: False) == []
    store.close()
    assert other.adopt(lambda _: False) == []
    store.release(segment)
    assert other.adopt(lambda _: True) == []
    assert other.adopt(lambda _: False) == [segment]
    other.abandon()


def test_files_left_by_a_process_that_died_while_making_them_are_deleted(store: RawStore) -> None:
    store.append(record())
    left, young = store.folder / "a.new", store.folder / "b.new"
    left.touch()
    young.touch()
    os.utime(left, (0, 0))

    store.adopt(lambda _: False)

    assert not left.exists()
    assert young.exists()


def ended(store: RawStore, *found: bytes) -> tuple[str, list[str]]:
    refs = [store.append(record(body)) for body in found]
    store.close()
    store.abandon()
    return store.segments()[0], refs


def without(word: bytes) -> Callable[[RawRecord], RawRecord | None]:
    def transform(found: RawRecord) -> RawRecord | None:
        if found.body == word:
            return None
        changed = found.body.replace(word, b"#" * 5000)
        return RawRecord(
            provider=found.provider,
            received_time=found.received_time,
            headers=found.headers,
            body=changed,
        )

    return transform


def test_a_rewrite_removes_bytes_and_leaves_references_and_cursors_right(tmp_path: Path) -> None:
    segment, refs = ended(RawStore(tmp_path), b"ann", b"bob", b"ann and bob", b"bob again")
    store = RawStore(tmp_path)
    cursors = [cursor for cursor, _ in store.records()]

    assert store.rewrite(segment, without(b"ann")) == 2
    assert b"ann" not in (tmp_path / segment).read_bytes()
    with pytest.raises(BadReference):
        store.read(refs[0])
    assert store.read(refs[1]).body == b"bob"
    assert store.read(refs[2]).body.startswith(b"#####")
    assert store.read(refs[3]).ref == refs[3]
    assert [found.body for _, found in store.records(cursors[2])] == [b"bob again"]
    after = [cursor for cursor, _ in store.records()]
    assert [found.body for _, found in store.records(after[1])] == [b"bob again"]
    assert store.rewrite(segment, without(b"ann")) == 0


def test_a_rewrite_that_changes_nothing_leaves_the_file_alone(tmp_path: Path) -> None:
    segment, _ = ended(RawStore(tmp_path), b"ann")
    before = (tmp_path / segment).stat()

    assert RawStore(tmp_path).rewrite(segment, without(b"nobody")) == 0
    assert (tmp_path / segment).stat() == before
    assert list(tmp_path.glob("*.new")) == []


def test_a_rewrite_leaves_out_bytes_that_are_no_record(tmp_path: Path) -> None:
    segment, _ = ended(RawStore(tmp_path), b"bob")
    with (tmp_path / segment).open("ab") as torn:
        torn.write(b"half of ann")

    assert RawStore(tmp_path).rewrite(segment, without(b"nobody")) == 0
    assert b"ann" not in (tmp_path / segment).read_bytes()


def test_a_rewrite_without_room_leaves_the_segment_as_it_was(tmp_path: Path) -> None:
    segment, _ = ended(RawStore(tmp_path), b"ann", b"bob")
    store = RawStore(tmp_path)

    with full_disk(), pytest.raises(RawStoreUnavailable):
        store.rewrite(segment, without(b"ann"))

    assert bodies(store) == [b"ann", b"bob"]
    assert list(tmp_path.glob("*.new")) == []


def test_a_rewrite_asks_the_process_that_uses_a_segment_to_end_it(tmp_path: Path) -> None:
    writer = RawStore(tmp_path, window_s=0)
    writer.append(record(b"ann"))
    (segment,) = writer.segments()

    with pytest.raises(StoreUnavailable, match="still in use"):
        RawStore(tmp_path).rewrite(segment, without(b"ann"), wait_s=0.0)
    writer.append(record(b"bob"))
    writer.release(segment)

    assert len(writer.segments()) == 2
    assert RawStore(tmp_path).rewrite(segment, without(b"ann")) == 1
    assert bodies(writer) == [b"bob"]
    writer.close()
    writer.abandon()


def test_pruning_takes_old_mapped_segments_that_nobody_uses(tmp_path: Path) -> None:
    mapped, _ = ended(RawStore(tmp_path, clock=lambda: AT), b"mapped")
    unmapped, _ = ended(RawStore(tmp_path, clock=lambda: AT + timedelta(days=1)), b"unmapped")
    unmapped = next(name for name in RawStore(tmp_path).segments() if name != mapped)
    used = RawStore(tmp_path, window_s=0, clock=lambda: AT + timedelta(days=2))
    used.append(record(b"used"))
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))

    assert used.prune(AT, lambda name: name != unmapped) == [mapped]
    assert bodies(used) == [b"unmapped", b"used"]
    used.close()
    used.abandon()


def test_a_closed_store_takes_nothing_more(store: RawStore) -> None:
    store.close()

    with pytest.raises(RawStoreUnavailable, match="stopping"):
        store.append(record())


@pytest.mark.parametrize("ref", ["", "a.seg", "a.seg:x", "../a.seg:16", "a.txt:16", ":16"])
def test_what_is_no_reference_is_refused(store: RawStore, ref: str) -> None:
    with pytest.raises(BadReference, match="no reference"):
        store.read(ref)
