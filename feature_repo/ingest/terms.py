"""The words of a mapping's expressions: columns, constants, products, and tests of a column.

Columns are named in the mapping and never reach SQL under that name; constants are quoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, Field, model_validator

from feature_repo.ingest.conversion import STRICT, ColumnType
from feature_repo.ingest.literals import text


@dataclass(frozen=True, slots=True)
class Cell:
    """A column inside SQL: its converted value and whether it was blank."""

    value: str
    is_blank: str
    declared: ColumnType


Scope = Mapping[str, Cell]
"""The columns that a term may name."""


class Term(BaseModel):
    """Something that has a value for each row, or for each group of rows."""

    model_config = STRICT

    def sql(self, scope: Scope) -> str:
        """The value as one SQL expression."""
        raise NotImplementedError

    def kind(self, scope: Scope) -> str:
        """Type of the value: text, whole, number, flag or time."""
        return "text"

    def reads(self) -> Iterator[str]:
        """Columns whose value in one row is used."""
        yield from ()

    def gathers(self) -> Iterator[str]:
        """Columns whose values in all rows of a group are used."""
        yield from ()


class Column(Term):
    """The column's value."""

    column: str

    def sql(self, scope: Scope) -> str:
        """See Term."""
        return scope[self.column].value

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return scope[self.column].declared.type

    def reads(self) -> Iterator[str]:
        """See Term."""
        yield self.column


class Constant(Term):
    """The same text in every event."""

    constant: str

    def sql(self, scope: Scope) -> str:
        """See Term."""
        return text(self.constant)


class Product(Term):
    """The numbers of the columns, multiplied."""

    product: tuple[str, ...] = Field(min_length=1)

    def sql(self, scope: Scope) -> str:
        """See Term."""
        return "(" + " * ".join(f"{scope[name].value}::DOUBLE" for name in self.product) + ")"

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return "number"

    def reads(self) -> Iterator[str]:
        """See Term."""
        yield from self.product


class Condition(BaseModel):
    """One test of one column. A blank cell passes `missing: true` and no other test."""

    model_config = STRICT
    column: str
    missing: bool | None = None
    equals: str | None = None
    one_of: tuple[str, ...] | None = Field(None, min_length=1)
    starts_with: str | None = None
    above: float | None = Field(None, allow_inf_nan=False)
    at_most: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        given = len(self.model_fields_set - {"column"})
        if given != 1:
            message = f"the condition on {self.column!r} must have one test, it has {given}"
            raise ValueError(message)
        return self

    def sql(self, scope: Scope) -> str:
        """SQL that is true or false, never NULL."""
        cell = scope[self.column]
        if self.missing is not None:
            return f"({cell.is_blank})" if self.missing else f"(NOT {cell.is_blank})"
        if self.starts_with is not None:
            test = f"starts_with({cell.value}::VARCHAR, {text(self.starts_with)})"
        elif self.above is not None:
            test = f"TRY_CAST({cell.value} AS DOUBLE) > {self.above!r}"
        elif self.at_most is not None:
            test = f"TRY_CAST({cell.value} AS DOUBLE) <= {self.at_most!r}"
        else:
            words = self.one_of or (self.equals or "",)
            test = f"{cell.value}::VARCHAR IN ({', '.join(text(word) for word in words)})"
        return f"coalesce({test}, false)"
