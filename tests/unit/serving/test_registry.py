"""MLflow over REST, against answers it was seen to give."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from serving.errors import RegistryUnavailable
from serving.registry import MlflowRegistry, NoRegistry, Version, open_registry

VERSION = Version("purchase_30d", "3", "run-3", "models:/m-3")
FOUND = {
    "model_version": {
        "name": "purchase_30d",
        "version": "3",
        "run_id": "run-3",
        "source": "models:/m-3",
        "status": "READY",
    }
}


def registry(answer: Callable[[httpx.Request], httpx.Response]) -> MlflowRegistry:
    return MlflowRegistry(
        "http://mlflow:5000", timeout_s=1.0, transport=httpx.MockTransport(answer)
    )


def champion(answer: Callable[[httpx.Request], httpx.Response]) -> Version | None:
    return asyncio.run(registry(answer).champion("purchase_30d"))


def test_the_alias_names_the_version() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json=FOUND)

    assert champion(answer) == VERSION
    assert asked == [
        "http://mlflow:5000/api/2.0/mlflow/registered-models/alias?name=purchase_30d&alias=champion"
    ]


# MLflow says 404 for a model it does not have, and 400 for an alias it does not have.
@pytest.mark.parametrize(
    ("status", "code"), [(404, "RESOURCE_DOES_NOT_EXIST"), (400, "INVALID_PARAMETER_VALUE")]
)
def test_no_such_alias_is_no_champion(status: int, code: str) -> None:
    assert champion(lambda _: httpx.Response(status, json={"error_code": code})) is None


@pytest.mark.parametrize(
    "response",
    [
        # A proxy's page is not MLflow saying no.
        httpx.Response(404, text="<h1>not found</h1>"),
        httpx.Response(403, text="Invalid Host header"),
        httpx.Response(500, json={"error_code": "INTERNAL_ERROR"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"model_version": {}}),
    ],
)
def test_anything_else_is_a_registry_that_does_not_answer(response: httpx.Response) -> None:
    with pytest.raises(RegistryUnavailable, match="mlflow:5000"):
        champion(lambda _: response)


def test_no_connection_is_a_registry_that_does_not_answer() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        message = "refused"
        raise httpx.ConnectError(message, request=request)

    with pytest.raises(RegistryUnavailable, match="does not answer"):
        champion(answer)


def test_files_are_those_of_the_manifest_and_no_path_leads_elsewhere() -> None:
    files = {
        "manifest.json": json.dumps({"spec.json": "00", "../../etc/passwd": "00"}).encode(),
        "spec.json": b"{}",
    }

    def answer(request: httpx.Request) -> httpx.Response:
        folder, name = request.url.params["path"].split("/", 1)
        assert folder == "runtime"
        return httpx.Response(200, content=files[name])

    found = asyncio.run(registry(answer).files(VERSION))

    assert dict(found) == files


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RegistryUnavailable, match=r"no runtime/manifest\.json of purchase_30d"):
        asyncio.run(registry(lambda _: httpx.Response(404)).files(VERSION))


def test_a_password_in_the_address_is_sent_but_never_shown() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"].startswith("Basic ")
        return httpx.Response(500)

    asked = MlflowRegistry(
        "http://user:secret@mlflow:5000", timeout_s=1.0, transport=httpx.MockTransport(answer)
    )

    with pytest.raises(RegistryUnavailable) as caught:
        asyncio.run(asked.champion("purchase_30d"))
    assert "secret" not in str(caught.value)


def test_a_database_is_not_a_server_to_follow() -> None:
    found = open_registry("sqlite:////home/x/mlflow.db", timeout_s=1.0)

    assert isinstance(found, NoRegistry)
    with pytest.raises(RegistryUnavailable, match="foresend up"):
        asyncio.run(found.champion("purchase_30d"))


def test_tags_come_with_the_version_and_do_not_make_it_another() -> None:
    tags = [{"key": "tiers.status", "value": "approved"}, {"key": "empty"}]
    found = champion(
        lambda _: httpx.Response(
            200, json={"model_version": {**FOUND["model_version"], "tags": tags}}
        )
    )

    assert found == VERSION
    assert found is not None
    assert found.tags == {"tiers.status": "approved", "empty": ""}


def test_a_version_is_asked_for_by_number() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.params["version"] == "3":
            return httpx.Response(200, json=FOUND)
        return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST"})

    mlflow = registry(answer)

    assert asyncio.run(mlflow.version("purchase_30d", "3")) == VERSION
    assert asyncio.run(mlflow.version("purchase_30d", "4")) is None
    assert set(asked) == {"/api/2.0/mlflow/model-versions/get"}


def test_versions_are_found_by_a_tag_newest_first() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["filter"])
        versions = [{"version": "9"}, {"version": "10"}]
        return httpx.Response(200, json={"model_versions": versions})

    found = asyncio.run(registry(answer).tagged("purchase_30d", "tiers.status", "approved"))

    assert [version.number for version in found] == ["10", "9"]
    assert asked == ["name = 'purchase_30d' and tags.`tiers.status` = 'approved'"]


@pytest.mark.parametrize(
    "body",
    [{"model_versions": [{}]}, {"model_versions": ["x"]}, {"model_versions": 7}],
)
def test_a_search_that_answers_nonsense_is_a_registry_that_does_not_answer(
    body: dict[str, object],
) -> None:
    with pytest.raises(RegistryUnavailable, match="mlflow:5000"):
        asyncio.run(
            registry(lambda _: httpx.Response(200, json=body)).tagged("t", "tiers.status", "x")
        )


def test_no_version_is_tagged_when_the_model_has_none() -> None:
    found = registry(lambda _: httpx.Response(200, json={}))

    assert list(asyncio.run(found.tagged("t", "tiers.status", "approved"))) == []
