"""`import_readings`: files of a source into the readings, all in one commit.

What cannot become a reading is set aside with its reason; the rest goes in. Importing the same
files again adds nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from feature_repo.config import load_config
from feature_repo.deliverability import postmaster_file, seeds, snds
from feature_repo.deliverability.complaints import ComplaintFiles
from feature_repo.deliverability.declaration import declaration
from feature_repo.deliverability.dmarc import DmarcParser
from feature_repo.deliverability.reading import Reject, Taken, to_table
from feature_repo.deliverability.readings import READINGS, Readings
from feature_repo.deliverability.seed_mapping import load_seed_mapping
from feature_repo.errors import ConfigError, UnusableInput
from feature_repo.settings import Settings
from feature_repo.sole import write_whole
from feature_repo.targets import suggestion

FORMS: Final = ("seed_list", "postmaster", "snds", "dmarc", "arf")
"""What a file can be; also the source of its readings."""

KnownAt = Callable[[date], datetime]
Progress = Callable[[str, int, int | None], None]
Parser = Callable[[bytes, str], Taken]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did."""

    form: str
    files: int
    #: Readings in the files, and those of them that were new.
    readings: int
    added: int
    pending: int
    #: Number of rejects by reason.
    rejected: dict[str, int]
    #: `complained` events of complaints whose customer is known, and those the log did not have.
    customers_known: int
    events_added: int
    first_day: date | None
    last_day: date | None
    reject_file: Path | None


def import_readings(
    settings: Settings,
    paths: Sequence[Path],
    form: str,
    *,
    known_at: KnownAt,
    now: datetime,
    progress: Progress,
    mapping: str | None = None,
    sending_domain: str | None = None,
) -> Imported:
    """Take in files, or all files of folders, as the source `form`.

    Raises:
        UnusableInput: a file is not of the form, or holds nothing that can be used; nothing was
            changed.
        ConfigError: a setting, the form or the mapping cannot be used.
        NotReady: DMARC reports need an extra that is not installed.
    """
    files = expand(paths)
    complaints = ComplaintFiles(settings, now) if form == "arf" else None
    parse = (
        complaints.take
        if complaints is not None
        else _parser(settings, form, now.date(), mapping, sending_domain)
    )
    taken, table, digest = _read(files, form, parse, known_at, progress)
    reject_file = _write_rejects(settings, form, taken.rejects, digest)
    if taken.rejects and not taken.readings and not taken.pending:
        raise _nothing(files, taken, reject_file)
    progress("writing", 0, None)
    events = complaints.write_events(known_at) if complaints is not None else 0
    added = Readings(settings.deliverability_path / "readings").append(table)
    days = [one.day for one in taken.readings]
    return Imported(
        form=form,
        files=len(files),
        readings=len(taken.readings),
        added=added,
        pending=taken.pending,
        rejected=dict(Counter(str(reject.reason) for reject in taken.rejects).most_common()),
        customers_known=0 if complaints is None else complaints.customers_known,
        events_added=events,
        first_day=min(days, default=None),
        last_day=max(days, default=None),
        reject_file=reject_file,
    )


def expand(paths: Sequence[Path]) -> list[Path]:
    """The files, and of folders the files in them, hidden ones left out.

    Raises:
        UnusableInput: one is not there, or there is no file.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            files += [one for one in inside if one.is_file() and not one.name.startswith(".")]
        elif path.is_file():
            files.append(path)
        else:
            message = f"{path} is not there."
            raise UnusableInput(message)
    if not files:
        message = f"There is no file in {', '.join(map(str, paths))}."
        raise UnusableInput(message)
    return files


def _parser(
    settings: Settings, form: str, today: date, mapping: str | None, sending_domain: str | None
) -> Parser:
    if form not in FORMS:
        message = f"--form {form!r} is not known{suggestion(form, FORMS)}; use {', '.join(FORMS)}."
        raise ConfigError(message)
    if mapping is not None and form != "seed_list":
        message = f"--mapping is for --form seed_list; --form {form} has one form."
        raise ConfigError(message)
    if form == "seed_list":
        declared = None if mapping is None else load_seed_mapping(mapping)
        return lambda raw, where: seeds.parse_seeds(
            raw, declared, today, sending_domain=sending_domain
        )
    if form == "postmaster":
        return lambda raw, where: postmaster_file.parse_file(raw, today)
    if form == "snds":
        ips = declaration(load_config(settings)).sending_ips
        return lambda raw, where: snds.parse_data(raw.decode("utf-8-sig", "replace"), ips, today)
    dmarc = DmarcParser()
    return lambda raw, where: dmarc.take(raw, where, today)


def _read(
    files: Sequence[Path], form: str, parse: Parser, known_at: KnownAt, progress: Progress
) -> tuple[Taken, pa.Table, str]:
    """What all files give, its rows, and a digest of their bytes."""
    taken, tables, digest = Taken(), [READINGS.empty_table()], hashlib.sha256()
    for number, path in enumerate(files):
        progress("reading files", number, len(files))
        raw = path.read_bytes()
        found = _named(parse, raw, path)
        own = hashlib.sha256(raw)
        digest.update(own.digest())
        ref = f"sha256:{own.hexdigest()[:16]}"
        tables.append(to_table(found.readings, source=form, known_at=known_at, raw_ref=ref))
        taken.add(found)
    return taken, pa.concat_tables(tables), digest.hexdigest()


def _named(parse: Parser, raw: bytes, path: Path) -> Taken:
    """What the file gives, with rejects that name it."""
    try:
        taken = parse(raw, "")
    except UnusableInput as exc:
        message = f"{path}: {exc}."
        raise UnusableInput(message) from exc
    taken.rejects = [
        replace(one, where=f"{path.name}, {one.where}" if one.where else path.name)
        for one in taken.rejects
    ]
    return taken


def _write_rejects(
    settings: Settings, form: str, rejects: Sequence[Reject], digest: str
) -> Path | None:
    """Named after the bytes of the files, so that the same import writes the same file."""
    path = settings.deliverability_path / "rejects" / f"{form}-{digest[:12]}.jsonl"
    if not rejects:
        path.unlink(missing_ok=True)
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(_lines(rejects)))
    return path


def _lines(rejects: Sequence[Reject]) -> Iterator[str]:
    for one in rejects:
        told = {"where": one.where, "reason": str(one.reason), "detail": one.detail}
        yield json.dumps(told) + "\n"


def _nothing(files: Sequence[Path], taken: Taken, reject_file: Path | None) -> UnusableInput:
    names = str(files[0]) if len(files) == 1 else f"{len(files)} files"
    first = taken.rejects[0]
    return UnusableInput(
        f"{names}: nothing can be used. The first of {len(taken.rejects)}: {first.where}: "
        f"{first.detail} ({first.reason}). All of them: {reject_file}."
    )
