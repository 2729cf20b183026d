"""Where promoted models come from: the port, MLflow over REST, and a fake of it.

MLflow's own client is not imported: it costs seconds and 175 MB in every worker, and four GETs do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx

from serving.errors import RegistryUnavailable

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

RUNTIME: Final = "runtime"
"""Folder of a version's artifacts that `serving.model.ScoringModel.load` reads."""

MANIFEST: Final = "manifest.json"
LARGEST_FILE: Final = 1 << 30
_MOST_TAGGED: Final = 100

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model version. Two are the same only when all of it is the same: a registry
    that was deleted and made again counts from 1 once more."""

    target: str
    number: str
    run_id: str | None
    source: str
    #: As the registry last told them; they may change while the version stays what it is.
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def order(self) -> int:
        """Place among the versions of its target, later ones higher; -1 for a number that is none.

        >>> Version("purchase_30d", "12", None, "").order
        12
        """
        return int(self.number) if self.number.isdecimal() else -1


class ModelRegistry(Protocol):
    """Port: which version is promoted, and its files."""

    async def champion(self, target: str) -> Version | None:
        """The version promoted for a target, None when there is none.

        Raises:
            RegistryUnavailable: it cannot be asked now.
        """

    async def challenger(self, target: str) -> Version | None:
        """The version that may take a champion's place, None when there is none.

        Raises:
            RegistryUnavailable: it cannot be asked now.
        """

    async def version(self, target: str, number: str) -> Version | None:
        """A version as it is now, None when the registry has no such version.

        Raises:
            RegistryUnavailable: it cannot be asked now.
        """

    async def tagged(self, target: str, tag: str, value: str) -> Sequence[Version]:
        """The versions of a target whose tag has a value, newest first.

        Raises:
            RegistryUnavailable: it cannot be asked now.
        """

    async def files(self, version: Version) -> Mapping[str, bytes]:
        """The runtime files of a version by name, `manifest.json` included.

        Raises:
            RegistryUnavailable: they cannot be had now.
        """

    async def close(self) -> None:
        """Let go of connections."""


class MlflowRegistry:
    """An MLflow tracking server, over REST."""

    def __init__(
        self, url: str, *, timeout_s: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        split = urlsplit(url)
        auth = (split.username, split.password or "") if split.username else None
        address = split._replace(netloc=split.netloc.rpartition("@")[2])
        self._shown = address.geturl()
        self._client = httpx.AsyncClient(
            base_url=self._shown, timeout=timeout_s, auth=auth, transport=transport
        )

    async def champion(self, target: str) -> Version | None:
        """The version with the alias `champion`."""
        return await self._aliased(target, CHAMPION)

    async def challenger(self, target: str) -> Version | None:
        """The version with the alias `challenger`."""
        return await self._aliased(target, CHALLENGER)

    async def version(self, target: str, number: str) -> Version | None:
        """A version by its number."""
        answer = await self._get(
            "api/2.0/mlflow/model-versions/get", {"name": target, "version": number}
        )
        return self._one(target, answer)

    async def tagged(self, target: str, tag: str, value: str) -> Sequence[Version]:
        """The versions with that tag."""
        answer = await self._get(
            "api/2.0/mlflow/model-versions/search",
            {
                "filter": f"name = '{target}' and tags.`{tag}` = '{value}'",
                "max_results": str(_MOST_TAGGED),
                "order_by": "version_number DESC",
            },
        )
        found = self._json(answer).get("model_versions", [])
        if not isinstance(found, list):
            raise RegistryUnavailable(self._not_mlflow())
        versions = [self._version(target, one) for one in found]
        return sorted(versions, key=lambda one: -one.order)

    async def files(self, version: Version) -> Mapping[str, bytes]:
        """What the manifest lists, and the manifest."""
        manifest = await self._file(version, MANIFEST)
        try:
            names = [name for name in json.loads(manifest) if _FILE_NAME.fullmatch(name)]
        except (ValueError, TypeError) as exc:
            message = (
                f"{version.target} version {version.number} has a {RUNTIME}/{MANIFEST} that is "
                "not JSON. Register the model again with `foresend train`."
            )
            raise RegistryUnavailable(message) from exc
        files = {name: await self._file(version, name) for name in names}
        return {**files, MANIFEST: manifest}

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _aliased(self, target: str, alias: str) -> Version | None:
        answer = await self._get(
            "api/2.0/mlflow/registered-models/alias", {"name": target, "alias": alias}
        )
        return self._one(target, answer)

    def _one(self, target: str, answer: httpx.Response) -> Version | None:
        if answer.status_code in (400, 404) and _says_absent(answer):
            return None
        return self._version(target, self._json(answer).get("model_version", {}))

    def _version(self, target: str, found: Mapping[str, Any]) -> Version:
        try:
            return Version(
                target=target,
                number=str(found["version"]),
                run_id=found.get("run_id") or None,
                source=str(found.get("source", "")),
                tags={str(tag["key"]): str(tag.get("value", "")) for tag in found.get("tags", [])},
            )
        except (KeyError, TypeError) as exc:
            raise RegistryUnavailable(self._not_mlflow()) from exc

    async def _file(self, version: Version, name: str) -> bytes:
        # The server resolves the version's location, so this works for local folders, for
        # `mlflow-artifacts:` and for object stores alike, and needs no listing.
        answer = await self._get(
            "model-versions/get-artifact",
            {"name": version.target, "version": version.number, "path": f"{RUNTIME}/{name}"},
        )
        if answer.status_code != httpx.codes.OK:
            message = (
                f"MLflow at {self._shown} has no {RUNTIME}/{name} of {version.target} version "
                f"{version.number} (HTTP {answer.status_code}). Was it registered by "
                "`foresend train`, and can the MLflow server read its artifacts?"
            )
            raise RegistryUnavailable(message)
        return answer.content

    async def _get(self, path: str, params: Mapping[str, str]) -> httpx.Response:
        try:
            return await self._client.get(path, params=params)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            message = (
                f"MLflow at {self._shown} does not answer ({type(exc).__name__}). Start it, or "
                "set FORESEND_MLFLOW_URI."
            )
            raise RegistryUnavailable(message) from exc

    def _json(self, answer: httpx.Response) -> Mapping[str, Any]:
        if answer.status_code != httpx.codes.OK:
            message = f"MLflow at {self._shown} answers HTTP {answer.status_code}."
            raise RegistryUnavailable(message)
        try:
            body = answer.json()
        except ValueError as exc:
            raise RegistryUnavailable(self._not_mlflow()) from exc
        return body if isinstance(body, dict) else {}

    def _not_mlflow(self) -> str:
        return f"What answers at {self._shown} is not an MLflow server. Check FORESEND_MLFLOW_URI."


def _says_absent(answer: httpx.Response) -> bool:
    """Whether it is MLflow that says there is no such model or alias, not some proxy."""
    try:
        body = answer.json()
    except ValueError:
        return False
    code = body.get("error_code") if isinstance(body, dict) else None
    # A missing alias of an existing model is INVALID_PARAMETER_VALUE in the SQL store.
    return code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass
class MemoryRegistry:
    """A registry in memory, for tests and trials."""

    champions: dict[str, Version] = field(default_factory=dict)
    challengers: dict[str, Version] = field(default_factory=dict)
    artifacts: dict[Version, Mapping[str, bytes]] = field(default_factory=dict)
    #: By target and number.
    tags: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    #: Why it does not answer; None: it does.
    down: str | None = None

    async def champion(self, target: str) -> Version | None:
        """The version set as champion."""
        self._answer()
        found = self.champions.get(target)
        return None if found is None else self._with_tags(found)

    async def challenger(self, target: str) -> Version | None:
        """The version set as challenger."""
        self._answer()
        return self.challengers.get(target)

    async def version(self, target: str, number: str) -> Version | None:
        """A version whose files were put in."""
        self._answer()
        named = [v for v in self.artifacts if (v.target, v.number) == (target, number)]
        return self._with_tags(named[-1]) if named else None

    async def tagged(self, target: str, tag: str, value: str) -> Sequence[Version]:
        """The versions with that tag."""
        self._answer()
        own = [self._with_tags(v) for v in self.artifacts if v.target == target]
        return sorted((v for v in own if v.tags.get(tag) == value), key=lambda v: -v.order)

    async def files(self, version: Version) -> Mapping[str, bytes]:
        """The files put in for a version."""
        self._answer()
        return self.artifacts[version]

    async def close(self) -> None:
        """Nothing to let go of."""

    def _with_tags(self, version: Version) -> Version:
        return replace(version, tags=dict(self.tags.get((version.target, version.number), {})))

    def _answer(self) -> None:
        if self.down is not None:
            raise RegistryUnavailable(self.down)


class NoRegistry(MemoryRegistry):
    """Stands in when there is no server to ask; says so whenever it is asked."""

    def __init__(self, reason: str) -> None:
        super().__init__(down=reason)


def open_registry(tracking_uri: str, *, timeout_s: float) -> ModelRegistry:
    """The registry behind a tracking URI; only a server can be followed."""
    if tracking_uri.startswith(("http://", "https://")):
        return MlflowRegistry(tracking_uri, timeout_s=timeout_s)
    return NoRegistry(
        f"The MLflow tracking URI {tracking_uri.partition('://')[0]}:// is not a server, and "
        "promotions can only be followed on one. Start it with `foresend up`, or set "
        "FORESEND_MLFLOW_URI to its http:// address."
    )
