"""Turn one cell of a file into a value of a declared type, as SQL; what cannot be turned is NULL.

A cell is blank when it is NULL or only white space. Nothing is guessed: a time is read in its
declared format, and a number with its declared decimal sign.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from feature_repo.ingest.literals import text
from feature_repo.ingest.source import Kind

STRICT: Final = ConfigDict(extra="forbid", frozen=True)

_TRIMMED: Final = "trim({cell}, ' ' || chr(9) || chr(10) || chr(13))"
_NUMBER: Final = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?|[+-]?(?i:nan|inf|infinity)"
_COMMA_NUMBER: Final = r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?"
_WHOLE: Final = r"[+-]?\d{1,18}(\.0*)?"
_ISO_CLOCK: Final = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_OFFSET: Final = r" ?(Z|UTC|[+-]\d{2}(:?\d{2})?)"
_ISO: Final = _ISO_CLOCK + _OFFSET
_DAY_OR_MONTH: Final = r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}.*"
_EPOCHS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_SANE: Final = (
    "BETWEEN TIMESTAMPTZ '1000-01-01 00:00:00+00' AND TIMESTAMPTZ '9000-01-01 00:00:00+00'"
)


class TextType(BaseModel):
    """Text; whole numbers are written without a decimal point."""

    model_config = STRICT
    type: Literal["text"] = "text"

    def sql(self, cell: str, kind: Kind) -> str:
        """The converted cell."""
        if kind is Kind.NUMBER:
            whole = f"isfinite({cell}::DOUBLE) AND {cell} = trunc({cell}) AND abs({cell}) < 1e15"
            return f"CASE WHEN {whole} THEN {cell}::BIGINT::VARCHAR ELSE {cell}::VARCHAR END"
        return f"nullif({_TRIMMED.format(cell=f'{cell}::VARCHAR')}, '')"

    def expected(self) -> str:
        """What the cell should have been."""
        return "text"


class WholeType(BaseModel):
    """A whole number."""

    model_config = STRICT
    type: Literal["whole"] = "whole"

    def sql(self, cell: str, kind: Kind) -> str:
        """The converted cell."""
        if kind is Kind.TEXT:
            trimmed = _TRIMMED.format(cell=cell)
            number = f"TRY_CAST(regexp_replace({trimmed}, '\\..*', '') AS BIGINT)"
            return _when_matches(trimmed, _WHOLE, number)
        if kind is Kind.NUMBER:
            return f"CASE WHEN {cell} = trunc({cell}) THEN TRY_CAST({cell} AS BIGINT) END"
        return f"TRY_CAST({cell} AS BIGINT)" if kind is Kind.WHOLE else "NULL::BIGINT"

    def expected(self) -> str:
        """What the cell should have been."""
        return "a whole number"


class NumberType(BaseModel):
    """A number; `decimal` is the sign before the fraction."""

    model_config = STRICT
    type: Literal["number"] = "number"
    decimal: Literal[".", ","] = "."

    def sql(self, cell: str, kind: Kind) -> str:
        """The converted cell. NaN and infinity are kept, for the amount check to name them."""
        if kind is Kind.TEXT and self.decimal == ",":
            trimmed = _TRIMMED.format(cell=cell)
            plain = f"replace(replace({trimmed}, '.', ''), ',', '.')"
            return _when_matches(trimmed, _COMMA_NUMBER, f"TRY_CAST({plain} AS DOUBLE)")
        if kind is Kind.TEXT:
            trimmed = _TRIMMED.format(cell=cell)
            return _when_matches(trimmed, _NUMBER, f"TRY_CAST({trimmed} AS DOUBLE)")
        if kind in {Kind.WHOLE, Kind.NUMBER}:
            return f"{cell}::DOUBLE"
        return "NULL::DOUBLE"

    def expected(self) -> str:
        """What the cell should have been."""
        return f"a number with decimal sign '{self.decimal}'"


class FlagType(BaseModel):
    """True or false, also written yes/no, t/f, 1/0."""

    model_config = STRICT
    type: Literal["flag"] = "flag"

    def sql(self, cell: str, kind: Kind) -> str:
        """The converted cell."""
        if kind is Kind.FLAG:
            return cell
        word = f"lower({_TRIMMED.format(cell=f'{cell}::VARCHAR')})"
        return (
            f"CASE WHEN {word} IN ('true', 't', 'yes', '1') THEN true "
            f"WHEN {word} IN ('false', 'f', 'no', '0') THEN false END"
        )

    def expected(self) -> str:
        """What the cell should have been."""
        return "true or false"


class TimeType(BaseModel):
    """An instant.

    `format` is `iso`, `epoch_s`, `epoch_ms`, `epoch_us`, or a strptime pattern. `zone` says where
    a time without offset was written down; without a zone such a time is refused.
    """

    model_config = STRICT
    type: Literal["time"] = "time"
    format: str = "iso"
    zone: str | None = None

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
                message = f"zone {zone!r} is not an IANA time zone such as Europe/London"
                raise ValueError(message) from exc
        return zone

    @model_validator(mode="after")
    def _unambiguous(self) -> TimeType:
        if self.format == "iso" or self.format in _EPOCHS:
            return self
        if "%" not in self.format:
            message = f"format {self.format!r} is not iso, {', '.join(_EPOCHS)} or a % pattern"
            raise ValueError(message)
        if "%z" not in self.format and self.zone is None:
            message = f"format {self.format!r} has no %z, so the column needs a zone"
            raise ValueError(message)
        return self

    def sql(self, cell: str, kind: Kind) -> str:
        """The converted cell."""
        return f"(CASE WHEN {self._sql(cell, kind)} {_SANE} THEN {self._sql(cell, kind)} END)"

    def _sql(self, cell: str, kind: Kind) -> str:
        if kind is Kind.TIME:
            return f"{cell}::TIMESTAMPTZ"
        if kind is Kind.LOCAL_TIME:
            return self._in_zone(f"{cell}::TIMESTAMP")
        trimmed = _TRIMMED.format(cell=f"{cell}::VARCHAR")
        if self.format in _EPOCHS:
            number = NumberType().sql(f"{cell}::VARCHAR", Kind.TEXT)
            micros = f"({number}) * {_EPOCHS[self.format]}"
            # Up to the year 9000; beyond, make_timestamptz would stop the whole import.
            return (
                f"(CASE WHEN abs({micros}) < 2.2e17 "
                f"THEN make_timestamptz(round({micros})::BIGINT) END)"
            )
        if self.format != "iso":
            parsed = f"try_strptime({trimmed}, {text(self.format)})"
            return f"{parsed}::TIMESTAMPTZ" if "%z" in self.format else self._in_zone(parsed)
        # Some exports leave a space before the offset, which DuckDB does not read.
        tight = f"regexp_replace({trimmed}, ' ?(Z|UTC|[+-][0-9:]+)$', '\\1')"
        joined = f"replace({tight}, 'UTC', 'Z')"
        with_offset = _when_matches(trimmed, _ISO, f"TRY_CAST({joined} AS TIMESTAMPTZ)")
        if self.zone is None:
            return with_offset
        naive = f"TRY_CAST({trimmed} AS TIMESTAMP)"
        return (
            f"coalesce({with_offset}, {_when_matches(trimmed, _ISO_CLOCK, self._in_zone(naive))})"
        )

    def _in_zone(self, naive: str) -> str:
        if self.zone is None:
            return "NULL::TIMESTAMPTZ"
        return f"timezone({text(self.zone)}, {naive})"

    def expected(self) -> str:
        """What the cell should have been."""
        if self.format == "iso" and self.zone is None:
            return "an ISO 8601 time with offset, e.g. 2011-03-04T10:00:00Z"
        return f"a time in format {self.format}" + (f", zone {self.zone}" if self.zone else "")


ColumnType = Annotated[
    TextType | WholeType | NumberType | FlagType | TimeType, Field(discriminator="type")
]


def blank(cell: str) -> str:
    """Whether a cell holds nothing."""
    return f"coalesce({_TRIMMED.format(cell=f'{cell}::VARCHAR')}, '') = ''"


def complaint(name: str, cell: str, declared: ColumnType) -> str:
    """Why a cell that is not blank could not be converted: SQL of a sentence."""
    shown = f"left({cell}::VARCHAR, 80)"
    plain = f"{text(name)} || ' ''' || {shown} || ''' is not ' || {text(declared.expected())}"
    if not isinstance(declared, TimeType) or declared.format != "iso":
        return plain
    trimmed = _TRIMMED.format(cell=f"{cell}::VARCHAR")
    either = text("; day first or month first? Declare the format in a mapping")
    zone = text("; declare the zone of times without offset in a mapping")
    return (
        f"{plain} || CASE WHEN regexp_full_match({trimmed}, {text(_DAY_OR_MONTH)}) THEN {either} "
        f"WHEN regexp_full_match({trimmed}, {text(_ISO_CLOCK)}) THEN {zone} ELSE '' END"
    )


def _when_matches(value: str, pattern: str, then: str) -> str:
    return f"(CASE WHEN regexp_full_match({value}, {text(pattern)}) THEN {then} END)"
