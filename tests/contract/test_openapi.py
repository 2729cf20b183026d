"""The OpenAPI document is true: what it allows is answered, what it forbids is refused, both as it
says, and nothing makes the server fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.documentation import ANSWER_EXAMPLES, REQUEST_EXAMPLES
from tests.unit.serving.conftest import TARGET, Client, World

pytestmark = pytest.mark.integration

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    world.promote("1", target="click_7d")
    with world.client() as started:
        yield started


def as_httpx(case: schemathesis.Case) -> dict[str, Any]:
    """The words of httpx for a case, which speaks those of requests."""
    sent = case.as_transport_kwargs(base_url="http://test")
    cookies = sent.pop("cookies", None)
    if cookies:
        pairs = "; ".join(f"{name}={value}" for name, value in cookies.items())
        sent["headers"] = {**sent["headers"], "Cookie": pairs}
    data = sent.pop("data", None)
    if data is not None:
        sent["content"] = data.encode() if isinstance(data, str) else bytes(data)
    return {name: value for name, value in sent.items() if value is not None}


OPERATIONS = [
    ("/v1/score", "POST", 80),
    ("/v1/audience", "POST", 60),
    ("/v1/audience", "GET", 5),
    ("/v1/audience/{job_id}", "GET", 20),
    ("/v1/audience/{job_id}", "DELETE", 20),
    ("/v1/audience/{job_id}/result", "GET", 20),
    ("/healthz", "GET", 5),
    ("/readyz", "GET", 5),
    ("/metrics", "GET", 5),
]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method", "examples"), OPERATIONS)
def test_whatever_is_sent_is_answered_as_the_document_says(
    client: Client, path: str, method: str, examples: int, mode: GenerationMode
) -> None:
    raw = client.get("/openapi.json").json()
    # Without this every generated target is an unknown one and no case reaches the scoring.
    raw["components"]["schemas"]["ScoreRequest"]["properties"]["target"]["enum"] = [TARGET]
    document = schemathesis.openapi.from_dict(raw)
    operation = document[path][method]

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        case.validate_response(client.send(**as_httpx(case)), checks=CHECKS)

    try:
        check()
    except Unsatisfiable:
        # Nothing can be wrong with a request that has no parts.
        assert mode is GenerationMode.NEGATIVE


def test_the_examples_of_the_document_keep_to_its_schemas(client: Client) -> None:
    body = client.get("/openapi.json").json()
    schemas = {"ScoreRequest": REQUEST_EXAMPLES, "ScoreResponse": ANSWER_EXAMPLES}

    for name, examples in schemas.items():
        root = {"$ref": f"#/components/schemas/{name}", "components": body["components"]}
        for example in examples.values():
            jsonschema_rs.Draft202012Validator(root).validate(example["value"])


def test_real_answers_keep_to_the_schema(client: Client) -> None:
    body = client.get("/openapi.json").json()
    root = {"$ref": "#/components/schemas/ScoreResponse", "components": body["components"]}
    for example in REQUEST_EXAMPLES.values():
        answer = client.post("/v1/score", json=example["value"])

        assert answer.status_code == 200
        jsonschema_rs.Draft202012Validator(root).validate(answer.json())


def test_every_refusal_is_a_documented_problem(client: Client) -> None:
    body = client.get("/openapi.json").json()
    root = {"$ref": "#/components/schemas/ProblemDocument", "components": body["components"]}
    declared = body["paths"]["/v1/score"]["post"]["responses"]
    asked: list[httpx.Response] = [
        client.post("/v1/score", json={"target": "no", "customers": [{"customer_id": "a"}]}),
        client.post("/v1/score", json={}),
        client.post("/v1/score", content=b"{", headers={"content-type": "application/json"}),
        client.post("/v1/score", content=b"{}"),
    ]

    for answer in asked:
        assert str(answer.status_code) in declared
        jsonschema_rs.Draft202012Validator(root).validate(answer.json())
