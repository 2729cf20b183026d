"""What a file is before a row of it is read: its form, its digest, whether it is text at all."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from feature_repo.errors import UnusableInput

Progress = Callable[[str, int, int | None], None]
"""Called with the step, how much of it is done, and how much there is when that is known."""

_CHUNK: Final = 1 << 22
_PARQUET_MAGIC: Final = b"PAR1"
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SUFFIXES: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
}


class Form(StrEnum):
    """How a file writes its rows."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was read once from end to end, so its bytes are known to be readable."""

    path: Path
    form: Form
    #: Of the bytes on disk; equal files have equal digests.
    digest: str
    size: int

    def open(self) -> io.BufferedIOBase:
        """The bytes of the rows, uncompressed."""
        return open_bytes(self.path)


def open_bytes(path: Path) -> io.BufferedIOBase:
    """The file's bytes; `.gz` is uncompressed on the way."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


def inspect(path: Path, progress: Progress) -> InputFile:
    """Read the file once: form, digest, and for text that every byte is UTF-8.

    Raises:
        UnusableInput: it is missing, empty, of no known form, damaged or not UTF-8.
    """
    size = _size(path)
    try:
        form = _form(path)
        digest = _digest(path, size, progress)
        if form is not Form.PARQUET:
            _check_text(path)
    except (OSError, EOFError, zlib.error) as exc:
        message = f"{path} cannot be read: {exc}."
        raise UnusableInput(message) from exc
    return InputFile(path, form, digest, size)


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            message = f"{path} is a folder. Name the files in it, e.g. {path}/*.parquet."
            raise UnusableInput(message)
        size = path.stat().st_size
    except OSError as exc:
        message = f"{path} cannot be read: {exc.strerror or exc}."
        raise UnusableInput(message) from exc
    if size == 0:
        message = f"{path} is empty (0 bytes). Was the export cut short?"
        raise UnusableInput(message)
    return size


def _form(path: Path) -> Form:
    with open_bytes(path) as stream:
        head = stream.read(4096)
    if head.startswith(_PARQUET_MAGIC):
        return Form.PARQUET
    if head.startswith(b"PK\x03\x04"):
        message = f"{path} is a ZIP or a spreadsheet. Unpack it, or save the sheet as CSV in UTF-8."
        raise UnusableInput(message)
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    declared = _SUFFIXES.get(name.suffix.lower())
    if declared == "parquet":
        message = f"{path} is not Parquet: it does not begin with PAR1."
        raise UnusableInput(message)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start and not head.startswith(_UTF16_MARKS):
        message = f"{path} holds nothing but white space."
        raise UnusableInput(message)
    if declared == "jsonl" and start.startswith(b"["):
        message = f"{path} is one JSON array. Write one object per line: jq -c '.[]' {path.name}"
        raise UnusableInput(message)
    if declared is None and not start.startswith(b"{"):
        message = f"{path} has no known suffix. Name it .parquet, .jsonl or .csv (also .gz)."
        raise UnusableInput(message)
    return Form(declared or "jsonl")


def _digest(path: Path, size: int, progress: Progress) -> str:
    digest = hashlib.blake2b(digest_size=16)
    done = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


def _check_text(path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = lines = 0
    with open_bytes(path) as stream:
        while True:
            chunk = stream.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as exc:
                line = lines + 1 + exc.object[: exc.start].count(b"\n")
                raise _not_utf8(path, line, chunk) from exc
            if b"\0" in chunk:
                message = f"{path} holds NUL bytes: it is not a text file."
                raise UnusableInput(message)
            if not chunk:
                return
            done += len(chunk)
            lines += chunk.count(b"\n")


def _not_utf8(path: Path, line: int, chunk: bytes) -> UnusableInput:
    likely = "UTF-16" if chunk.startswith(_UTF16_MARKS) else "WINDOWS-1252"
    message = (
        f"{path} is not UTF-8 (line {line}). Convert it first, e.g. "
        f"iconv -f {likely} -t UTF-8 {path.name} > utf8-{path.name}"
    )
    return UnusableInput(message)
