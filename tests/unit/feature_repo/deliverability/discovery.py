"""Google's discovery document as a judge: what may be asked, and what may be answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx

FOLDER = Path(__file__).parents[3] / "fixtures" / "postmaster"
DOCUMENT = json.loads((FOLDER / "gmailpostmastertools.v2.json").read_text("utf-8"))

_NUMBERS = {"int32": int, "double": (int, float), "float": (int, float)}


def answer(name: str) -> Any:
    """A recorded answer."""
    return json.loads((FOLDER / "answers" / f"{name}.json").read_text("utf-8"))


def check_request(request: httpx.Request) -> dict[str, Any]:
    """The method of a request that the document allows; AssertionError says what it does not."""
    method = _method(request)
    known = {name for name, spec in method["parameters"].items() if spec["location"] == "query"}
    assert set(request.url.params) <= known
    if "request" in method:
        check(method["request"]["$ref"], json.loads(request.content))
    else:
        assert request.content == b""
    return method


def check(schema: str, value: Any) -> None:
    """That a value is of a schema, with no property that it does not have."""
    _object(DOCUMENT["schemas"][schema], value, schema)


def _method(request: httpx.Request) -> dict[str, Any]:
    path = str(request.url.copy_with(query=None)).removeprefix(DOCUMENT["rootUrl"])
    for method in _methods(DOCUMENT):
        pattern = re.sub(r"\\{[^}]*\\}", "[^/:]+", re.escape(method["flatPath"]))
        if method["httpMethod"] == request.method and re.fullmatch(pattern, path):
            return method
    message = f"{request.method} {path} is not in the discovery document"
    raise AssertionError(message)


def _methods(resource: dict[str, Any]) -> Any:
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from _methods(inner)


def _object(schema: dict[str, Any], value: Any, where: str) -> None:
    assert isinstance(value, dict), where
    unknown = value.keys() - schema.get("properties", {}).keys()
    assert not unknown, f"{where} has no {unknown}"
    for name, inner in value.items():
        _value(schema["properties"][name], inner, f"{where}.{name}")


def _value(spec: dict[str, Any], value: Any, where: str) -> None:
    if "$ref" in spec:
        _object(DOCUMENT["schemas"][spec["$ref"]], value, where)
    elif spec["type"] == "array":
        assert isinstance(value, list), where
        for inner in value:
            _value(spec["items"], inner, where)
    elif "format" in spec and spec["format"] in _NUMBERS:
        assert isinstance(value, _NUMBERS[spec["format"]]), where
    else:
        assert isinstance(value, str), where
        assert value in spec.get("enum", [value]), f"{where}: {value}"
