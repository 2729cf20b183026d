"""What a mapping may do with columns to make a field: few operations, one SQL expression each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import BaseModel, Discriminator, Field, Tag

from feature_repo.event import MICROS
from feature_repo.ingest.cell_operations import Before, EmailId, JsonKey
from feature_repo.ingest.literals import text
from feature_repo.ingest.terms import Column, Condition, Constant, Product, Scope, Term

_LARGEST_TERM: Final = "1e12"


class Sum(Term):
    """Over the rows of a group: the sum, exact to a millionth in any order of the rows."""

    sum: Column | Product

    def sql(self, scope: Scope) -> str:
        """See Term. A term no amount can have makes NaN, which the amount check names."""
        value = f"({self.sum.sql(scope)})::DOUBLE"
        broken = f"bool_or(NOT isfinite({value}) OR abs({value}) > {_LARGEST_TERM})"
        whole = f"CASE WHEN abs({value}) <= {_LARGEST_TERM} THEN round({value} * {MICROS}) END"
        micros = f"sum(({whole})::HUGEINT)"
        return f"(CASE WHEN {broken} THEN 'nan'::DOUBLE ELSE {micros}::DOUBLE / {MICROS} END)"

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return "number"

    def gathers(self) -> Iterator[str]:
        """See Term."""
        yield from self.sum.reads()


class Earliest(Term):
    """Over the rows of a group: the smallest value."""

    min: str

    def sql(self, scope: Scope) -> str:
        """See Term."""
        return f"min({scope[self.min].value})"

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return scope[self.min].declared.type

    def gathers(self) -> Iterator[str]:
        """See Term."""
        yield self.min


class First(Term):
    """Over the rows of a group: the value in the first row that has one."""

    first: str

    def sql(self, scope: Scope) -> str:
        """See Term."""
        value = scope[self.first].value
        return f"arg_min({value}, row_key) FILTER ({value} IS NOT NULL)"

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return scope[self.first].declared.type

    def gathers(self) -> Iterator[str]:
        """See Term."""
        yield self.first


class Lookup(Term):
    """The word a table gives for the column's value, whatever its case.

    A value that the table lacks becomes `otherwise`, or stays as it is.
    """

    lookup: str
    table: dict[str, str] = Field(min_length=1)
    otherwise: str | None = None

    def sql(self, scope: Scope) -> str:
        """See Term."""
        value = f"{scope[self.lookup].value}::VARCHAR"
        cases = (f"WHEN {text(key.lower())} THEN {text(to)}" for key, to in self.table.items())
        rest = value if self.otherwise is None else text(self.otherwise)
        return f"(CASE lower({value}) {' '.join(cases)} ELSE {rest} END)"

    def reads(self) -> Iterator[str]:
        """See Term."""
        yield self.lookup


class _Compound(Term):
    """A term made of others."""

    def parts(self) -> tuple[Term, ...]:
        """The terms it is made of."""
        raise NotImplementedError

    def reads(self) -> Iterator[str]:
        """See Term."""
        for part in self.parts():
            yield from part.reads()

    def gathers(self) -> Iterator[str]:
        """See Term."""
        for part in self.parts():
            yield from part.gathers()


class Concat(_Compound):
    """The parts one after the other as text; missing when a part is missing."""

    concat: tuple[Operation, ...] = Field(min_length=1)

    def parts(self) -> tuple[Term, ...]:
        """See _Compound."""
        return self.concat

    def sql(self, scope: Scope) -> str:
        """See Term."""
        return "(" + " || ".join(f"{part.sql(scope)}::VARCHAR" for part in self.concat) + ")"


class Digest(_Compound):
    """32 hex digits of the parts as `event.deterministic_id` makes them; parts may be missing."""

    digest: tuple[Operation, ...] = Field(min_length=1)

    def parts(self) -> tuple[Term, ...]:
        """See _Compound."""
        return self.digest

    def sql(self, scope: Scope) -> str:
        """See Term. Times count as microseconds since 1970."""
        lengths = []
        for part in self.digest:
            value = part.sql(scope)
            shown = f"epoch_us({value})" if part.kind(scope) == "time" else value
            lengths.append(
                f"coalesce(length(({shown})::VARCHAR) || ':' || ({shown})::VARCHAR, '-:')"
            )
        return f"left(sha256({' || '.join(lengths)}), 32)"


class FirstOf(_Compound):
    """The first part that is not missing."""

    first_of: tuple[Operation, ...] = Field(min_length=1)

    def parts(self) -> tuple[Term, ...]:
        """See _Compound."""
        return self.first_of

    def sql(self, scope: Scope) -> str:
        """See Term."""
        return "coalesce(" + ", ".join(part.sql(scope) for part in self.first_of) + ")"

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return self.first_of[0].kind(scope)


class Negate(_Compound):
    """The number with its sign turned."""

    negate: Operation

    def parts(self) -> tuple[Term, ...]:
        """See _Compound."""
        return (self.negate,)

    def sql(self, scope: Scope) -> str:
        """See Term."""
        return f"(-({self.negate.sql(scope)}))"

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return self.negate.kind(scope)


class Choose(_Compound):
    """`then` when the condition holds, else `otherwise`; without that, missing."""

    when: Condition
    then: Operation
    otherwise: Operation | None = None

    def parts(self) -> tuple[Term, ...]:
        """See _Compound."""
        rest = () if self.otherwise is None else (self.otherwise,)
        return (Column(column=self.when.column), self.then, *rest)

    def sql(self, scope: Scope) -> str:
        """See Term."""
        otherwise = "NULL" if self.otherwise is None else self.otherwise.sql(scope)
        return (
            f"(CASE WHEN {self.when.sql(scope)} THEN {self.then.sql(scope)} ELSE {otherwise} END)"
        )

    def kind(self, scope: Scope) -> str:
        """See Term."""
        return self.then.kind(scope)


_KEYS: Final = (
    "column", "constant", "product", "sum", "min", "first",
    "lookup", "concat", "digest", "first_of", "negate", "when", "email_id", "json_in", "before",
)  # fmt: skip


def _which(value: object) -> str | None:
    """The key that tells the operation."""
    names = type(value).model_fields if isinstance(value, BaseModel) else value
    if not isinstance(names, dict):
        return None
    return next((key for key in _KEYS if key in names), None)


Operation = Annotated[
    Annotated[Column, Tag("column")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Product, Tag("product")]
    | Annotated[Sum, Tag("sum")]
    | Annotated[Earliest, Tag("min")]
    | Annotated[First, Tag("first")]
    | Annotated[Lookup, Tag("lookup")]
    | Annotated[Concat, Tag("concat")]
    | Annotated[Digest, Tag("digest")]
    | Annotated[FirstOf, Tag("first_of")]
    | Annotated[Negate, Tag("negate")]
    | Annotated[Choose, Tag("when")]
    | Annotated[EmailId, Tag("email_id")]
    | Annotated[JsonKey, Tag("json_in")]
    | Annotated[Before, Tag("before")],
    Discriminator(
        _which,
        custom_error_type="operation",
        custom_error_message=f"an operation has one of the keys {', '.join(_KEYS)}",
    ),
]
"""Any one of them, told apart by its key."""

for _model in (Concat, Digest, FirstOf, Negate, Choose):
    _model.model_rebuild()
