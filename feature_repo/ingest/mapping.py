"""A mapping: how a foreign table becomes events, declared in YAML. docs/events.md explains it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from feature_repo.errors import ConfigError
from feature_repo.history.schema import EVENTS
from feature_repo.ingest.conversion import STRICT, ColumnType
from feature_repo.ingest.operations import Operation
from feature_repo.ingest.terms import Cell, Condition
from feature_repo.ingest.yaml_model import read_yaml

SHIPPED: Final = (
    "iterable",
    "klaviyo",
    "mailchimp",
    "mailchimp_unsubscribes",
    "mautic_clicks",
    "mautic_opens",
    "mautic_sends",
    "mautic_unsubscribes",
    "online_retail",
    "sendgrid",
)
"""Mappings that `--mapping NAME` finds without a path."""

REQUIRED: Final = ("type", "customer_id", "event_time")
OURS: Final = ("backfilled", "raw_ref", "mapping_version", "schema_fingerprint")
"""Fields the import itself fills."""

_NUMERIC: Final = {"whole", "number"}


def _typed(value: object) -> object:
    """Let `Quantity: whole` stand for `Quantity: {type: whole}`."""
    return {"type": value} if isinstance(value, str) else value


class Skip(BaseModel):
    """Rows (or events) that are not wanted; they are counted under `reason`."""

    model_config = STRICT
    reason: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    when: Condition


class Mapping(BaseModel):
    """A declared translation of a table."""

    model_config = STRICT
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    version: int = Field(ge=1)
    description: str = ""
    columns: dict[str, Annotated[ColumnType, BeforeValidator(_typed)]] = Field(min_length=1)
    #: Columns that a file may lack; they are missing in every row then.
    optional: tuple[str, ...] = ()
    #: Rows to leave out, tested on columns; the first that holds gives the reason.
    skip: tuple[Skip, ...] = ()
    #: One event per distinct value of these columns instead of one per row.
    group_by: tuple[str, ...] = ()
    fields: dict[str, Operation]
    #: Events to leave out, tested on fields.
    skip_events: tuple[Skip, ...] = ()

    @property
    def label(self) -> str:
        """What events carry as `mapping_version`, e.g. `online_retail@1`."""
        return f"{self.name}@{self.version}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_fields()
        self._check_columns()
        self._check_groups()
        self._check_types()
        return self

    def _check_fields(self) -> None:
        unknown = [name for name in self.fields if name not in EVENTS.names or name in OURS]
        if unknown:
            allowed = ", ".join(name for name in EVENTS.names if name not in OURS)
            message = f"field {unknown[0]!r} is not one of {allowed}"
            raise ValueError(message)
        missing = [name for name in REQUIRED if name not in self.fields]
        if missing:
            message = f"fields must say how to make {missing[0]!r}"
            raise ValueError(message)
        for rule in self.skip_events:
            if rule.when.column not in self.fields:
                message = f"skip_events tests {rule.when.column!r}, which is not in fields"
                raise ValueError(message)

    def _check_columns(self) -> None:
        named = {name for op in self.fields.values() for name in (*op.reads(), *op.gathers())}
        named |= {rule.when.column for rule in self.skip}
        named |= {*self.group_by, *self.optional}
        undeclared = sorted(named - self.columns.keys())
        if undeclared:
            message = f"column {undeclared[0]!r} is used but not declared under columns"
            raise ValueError(message)

    def _check_groups(self) -> None:
        for field, op in self.fields.items():
            if not self.group_by and any(op.gathers()):
                message = f"field {field!r} uses sum, min or first, which need group_by"
                raise ValueError(message)
            alone = sorted(set(op.reads()) - set(self.group_by)) if self.group_by else []
            if alone:
                message = (
                    f"field {field!r} uses column {alone[0]!r}, which may differ inside a group: "
                    "put it in group_by or inside sum, min or first"
                )
                raise ValueError(message)

    def _check_types(self) -> None:
        scope = {name: Cell("NULL", "true", type_) for name, type_ in self.columns.items()}
        for field, op in self.fields.items():
            found, wanted = op.kind(scope), field_type(field)
            both_numbers = {found, wanted} <= _NUMERIC
            if wanted not in {"text", found} and not both_numbers:
                message = f"field {field!r} must be a {wanted}, but its operation gives a {found}"
                raise ValueError(message)


def field_type(name: str) -> str:
    """Type of an event field in the words of a mapping."""
    arrow = str(EVENTS.field(name).type)
    return {"string": "text", "double": "number", "int32": "whole", "bool": "flag"}.get(
        arrow, "time"
    )


def load_mapping(name_or_path: str) -> Mapping:
    """The shipped mapping of that bare name, else the mapping in that file.

    Raises:
        ConfigError: there is no such mapping, or it is not a valid one.
    """
    if name_or_path in SHIPPED:
        folder = resources.files("feature_repo.ingest") / "mappings"
        return parse_mapping((folder / f"{name_or_path}.yaml").read_text("utf-8"), name_or_path)
    path = Path(name_or_path)
    try:
        return parse_mapping(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as exc:
        message = (
            f"Mapping {name_or_path!r} cannot be read ({exc}). "
            f"Give the path of a YAML file, or a shipped name: {', '.join(SHIPPED)}."
        )
        raise ConfigError(message) from exc


def parse_mapping(source: str, origin: str) -> Mapping:
    """Read a mapping's YAML; `origin` names it in errors.

    Raises:
        ConfigError: it is not YAML, or not a valid mapping.
    """
    return read_yaml(Mapping, source, origin)
