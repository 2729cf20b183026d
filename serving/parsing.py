"""From the bytes of a body to a request, or to a problem that says where and what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from serving.errors import InvalidRequest, NotJson, NotJsonContent
from serving.schemas import MAX_CUSTOMERS, Customer, ScoreRequest

SHOWN_ERRORS: Final = 10
_LONGEST_KEY: Final = 64


def check_content_type(header: str | None) -> None:
    """Accept JSON only.

    Raises:
        NotJsonContent: the body is declared as something else, or as nothing.
    """
    kind = (header or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        shown = f"not {kind!r}" if kind else "which is missing"
        message = f"Send the header `Content-Type: application/json`, {shown}."
        raise NotJsonContent(message)


def parse_score_request(body: bytes) -> ScoreRequest:
    """The request of a body.

    Raises:
        NotJson: it is not JSON.
        InvalidRequest: it is, but not as the schema says.
    """
    try:
        return ScoreRequest.model_validate_json(body)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        message = f"The body cannot be read as JSON: {errors[0]['ctx']['error']}."
        raise NotJson(message)
    told = [{"at": _place(error["loc"]), "message": _message(error)} for error in errors]
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    detail = f"{told[0]['at']}: {told[0]['message']}{more}"
    raise InvalidRequest(detail, errors=told[:SHOWN_ERRORS])


def _place(loc: Sequence[str | int]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part[:_LONGEST_KEY]}" if text else part[:_LONGEST_KEY]
    return text or "body"


def _message(error: Any) -> str:
    kind, loc = error["type"], error["loc"]
    if kind == "extra_forbidden":
        model = Customer if loc[0] == "customers" and len(loc) > 1 else ScoreRequest
        return f"unknown key; allowed here: {', '.join(model.model_fields)}"
    if kind == "too_long" and loc == ("customers",):
        return f"at most {MAX_CUSTOMERS} customers in one request; split them over several"
    if kind == "too_short" and loc == ("customers",):
        return "at least one customer"
    if kind == "missing":
        return "is required"
    if kind == "string_type" and loc[-1] == "customer_id":
        return "must be a string; put a number in quotes"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    return str(error["msg"][0].lower() + error["msg"][1:])
