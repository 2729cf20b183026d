"""foresend.yaml: what an installation declares, read once and passed on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from feature_repo.errors import ConfigError
from feature_repo.settings import Settings
from feature_repo.targets import BadDeclaration, Target, suggestion, target_from

SHIPPED: Final = Path(__file__).with_name("foresend.yaml")
"""The defaults; a file named by FORESEND_CONFIG replaces them."""

_SECTIONS: Final = (
    "targets",
    "promotion",
    "schedule",
    "tiers",
    "training",
    "deliverability",
    "serving",
    "routing",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The declarations of one file."""

    path: Path
    targets: Mapping[str, Target]
    #: The other sections as written; whoever uses one checks it and names `path` in its errors.
    sections: Mapping[str, Any] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """The target of that name.

        Raises:
            ConfigError: there is none; the message lists those there are.
        """
        if name in self.targets:
            return self.targets[name]
        message = (
            f"No target is called {name!r}{suggestion(name, self.targets)}. "
            f"{self.path} declares {', '.join(self.targets)}. Declare it there under targets."
        )
        raise ConfigError(message)


def load_config(settings: Settings) -> Config:
    """The declarations of the file in settings.config, else of the shipped one.

    Raises:
        ConfigError: the file cannot be read, or a declaration cannot be used.
    """
    return read_config(settings.config or SHIPPED)


def read_config(path: Path) -> Config:
    """The declarations of a file.

    Raises:
        ConfigError: the file cannot be read, or a declaration cannot be used.
    """
    document = _document(path)
    for key in document:
        if key not in _SECTIONS:
            message = (
                f"{path}: {key} is not a section{suggestion(key, _SECTIONS)}; "
                f"the file has: {', '.join(_SECTIONS)}."
            )
            raise ConfigError(message)
    declared = document.get("targets")
    if not isinstance(declared, dict) or not declared:
        message = (
            f"{path}: targets has value {declared!r}; declare at least one, for example "
            "targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}."
        )
        raise ConfigError(message)
    return Config(
        path=path,
        targets={str(name): _target(path, name, declared) for name in declared},
        sections={str(key): value for key, value in document.items() if key != "targets"},
    )


def keys_of(value: object, where: str, known: Sequence[str]) -> Mapping[str, Any]:
    """A part of a file as the mapping it must be, of known keys only; `where` begins with the file.

    Raises:
        ConfigError: it is none, or has a key that is not known.
    """
    if not isinstance(value, Mapping):
        message = (
            f"{where} has value {value!r}; it must be a mapping, it has keys: {', '.join(known)}."
        )
        raise ConfigError(message)
    for key in value:
        if key not in known:
            message = f"{where}.{key} is not a key{suggestion(key, known)}; use {', '.join(known)}."
            raise ConfigError(message)
    return value


def _target(path: Path, name: object, declared: Mapping[Any, Any]) -> Target:
    try:
        return target_from(name, declared[name])
    except BadDeclaration as exc:
        message = f"{path}: targets.{name}: {exc}."
        raise ConfigError(message) from exc


def _document(path: Path) -> Mapping[Any, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (OSError, UnicodeDecodeError) as exc:
        message = f"{path} cannot be read: {exc}. Set FORESEND_CONFIG to a readable YAML file."
        raise ConfigError(message) from exc
    except yaml.YAMLError as exc:
        where = f"{path}, {_place(exc)}" if _place(exc) else str(path)
        problem = getattr(exc, "problem", None) or str(exc)
        message = f"{where}: not valid YAML: {problem}. Compare with {SHIPPED}."
        raise ConfigError(message) from exc
    if not isinstance(document, dict):
        message = f"{path} holds {type(document).__name__}, not a mapping with a section targets."
        raise ConfigError(message)
    return document


def _place(exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f"line {mark.line + 1}" if mark else ""


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is written twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)
