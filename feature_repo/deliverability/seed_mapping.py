"""A mapping of a seed-list export: which column says what, and what the placements are called."""

from __future__ import annotations

from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from feature_repo.deliverability.reading import Unusable, Why
from feature_repo.errors import ConfigError
from feature_repo.ingest.yaml_model import read_yaml

SHIPPED: Final = ("seed_list", "seed_counts")
"""Mappings that `--mapping NAME` finds without a path; tried in this order without one."""

PLACEMENTS: Final = ("inbox", "tab", "spam", "missing", "pending")
Placement = Literal["inbox", "tab", "spam", "missing", "pending"]

_STRICT: Final = ConfigDict(extra="forbid", frozen=True)
_PLAIN: Final[dict[Placement, tuple[str, ...]]] = {
    "inbox": ("inbox",),
    "tab": ("tab",),
    "spam": ("spam",),
    "missing": ("missing",),
    "pending": ("pending",),
}
_COMMON: Final = ("test_id", "sent_at", "sending_domain", "from_address", "provider")
_PER_SEED: Final = (*_COMMON, "seed_email", "placement")
_PER_PROVIDER: Final = (*_COMMON, *PLACEMENTS)


def _listed(value: object) -> object:
    """Let `sent_at: Sent` stand for `sent_at: [Sent]`."""
    return [value] if isinstance(value, str) else value


class SentAt(BaseModel):
    """How the column of the time is written."""

    model_config = _STRICT
    #: iso, epoch_s, epoch_ms, or a format of Python's strptime such as "%d.%m.%Y %H:%M".
    form: str = "iso"
    #: Zone of times that are written without one.
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as exc:
            message = f"zone {name!r} is not known; use a name like Europe/Berlin"
            raise ValueError(message) from exc
        return name

    def day(self, text: str) -> date:
        """The UTC day of a cell.

        Raises:
            Unusable: it is not written in this form.
        """
        try:
            return self._time(text.strip()).astimezone(UTC).date()
        except (ValueError, OverflowError, OSError):
            detail = f"{text[:40]!r} is no time in the form {self.form}"
            raise Unusable(Why.BAD_TIME, detail) from None

    def _time(self, text: str) -> datetime:
        if self.form in {"epoch_s", "epoch_ms"}:
            return datetime.fromtimestamp(float(text) / (1e3 if "ms" in self.form else 1.0), UTC)
        found = (
            datetime.fromisoformat(text)
            if self.form == "iso"
            else datetime.strptime(text, self.form)  # noqa: DTZ007
        )
        return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(self.zone))


class SeedMapping(BaseModel):
    """A declared translation of a seed-list table."""

    model_config = _STRICT
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    version: int = Field(ge=1)
    description: str = ""
    #: per_seed: a row per seed mailbox; per_provider: a row of counts per mailbox provider.
    form: Literal["per_seed", "per_provider"]
    #: Our name of a column to theirs; of several, the first that the file has.
    columns: dict[str, Annotated[tuple[str, ...], BeforeValidator(_listed)]]
    sent_at: SentAt = SentAt()
    #: Our placements to their words, in small letters.
    placements: dict[Placement, tuple[str, ...]] = _PLAIN

    @property
    def label(self) -> str:
        """How it is called in messages, e.g. `seed_list@1`."""
        return f"{self.name}@{self.version}"

    def placement(self, word: str) -> Placement:
        """Our word for a placement.

        Raises:
            Unusable: the mapping does not have it.
        """
        lower = word.strip().lower()
        for ours, theirs in self.placements.items():
            if lower in theirs:
                return ours
        detail = f"{word.strip()[:40]!r} is in no list of placements of {self.label}"
        raise Unusable(Why.UNKNOWN_PLACEMENT, detail)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = _PER_SEED if self.form == "per_seed" else _PER_PROVIDER
        for name in self.columns:
            if name not in known:
                message = f"columns.{name} is not one of {', '.join(known)}"
                raise ValueError(message)
        if "sent_at" not in self.columns:
            message = "columns.sent_at is missing: the day of the test must be told"
            raise ValueError(message)
        self._check_form()
        seen: dict[str, str] = {}
        for ours, theirs in self.placements.items():
            for word in theirs:
                if word != word.lower() or seen.setdefault(word, ours) != ours:
                    message = f"placements: {word!r} must be in small letters and stand in one list"
                    raise ValueError(message)
        return self

    def _check_form(self) -> None:
        if self.form == "per_seed":
            if "placement" not in self.columns or not self.columns.keys() & {
                "provider",
                "seed_email",
            }:
                message = "per_seed needs columns placement, and provider or seed_email"
                raise ValueError(message)
        elif not {"provider", "inbox", "spam", "missing"} <= self.columns.keys():
            message = "per_provider needs columns provider, inbox, spam and missing"
            raise ValueError(message)


def load_seed_mapping(name_or_path: str) -> SeedMapping:
    """The shipped mapping of that bare name, else the mapping in that file.

    Raises:
        ConfigError: there is no such mapping, or it is not a valid one.
    """
    if name_or_path in SHIPPED:
        folder = resources.files("feature_repo.deliverability") / "mappings"
        source = (folder / f"{name_or_path}.yaml").read_text("utf-8")
        return read_yaml(SeedMapping, source, name_or_path)
    try:
        source = Path(name_or_path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        message = (
            f"Mapping {name_or_path!r} cannot be read ({exc}). "
            f"Give the path of a YAML file, or a shipped name: {', '.join(SHIPPED)}."
        )
        raise ConfigError(message) from exc
    return read_yaml(SeedMapping, source, name_or_path)
