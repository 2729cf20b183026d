"""Tools as their documentation and their sources say they behave, in memory."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx

BASIC = "Basic " + base64.b64encode(b"api:open sesame").decode()


def answer(status: int, content: Any, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=content, headers=headers)


@dataclass
class FakeMautic:
    """CommonApiController::editEntitiesAction, and searches by one field."""

    contacts: dict[int, dict[str, Any]] = field(default_factory=dict)
    fields: set[str] = field(
        default_factory=lambda: {
            f"foresend_{one}" for one in ("score", "tier", "action", "holdout")
        }
    )
    limit: int = 200
    #: Contacts that a form finds something wrong with.
    invalid: set[int] = field(default_factory=set)
    forbidden: set[int] = field(default_factory=set)
    #: Access tokens that are good; None: basic authentication.
    tokens: set[str] | None = None
    given_tokens: int = 0
    batches: list[int] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/v2/token":
            return self._token(request)
        if not self._lets_in(request.headers.get("authorization", "")):
            return answer(401, {"errors": [{"code": 401, "message": "API authorization denied."}]})
        match request.method, request.url.path:
            case "GET", "/api/contacts":
                return self._search(request.url.params)
            case "GET", "/api/fields/contact":
                rows = {str(n): {"id": n, "alias": one} for n, one in enumerate(self.fields, 1)}
                return answer(200, {"total": len(rows), "fields": rows})
            case "PATCH", "/api/contacts/batch/edit":
                return self._edit(json.loads(request.content))
        return answer(404, {"errors": [{"code": 404, "message": "not found"}]})

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode())
        wanted = {
            "grant_type": ["client_credentials"],
            "client_id": ["api"],
            "client_secret": ["open sesame"],
        }
        if self.tokens is None or form != wanted:
            return answer(400, {"errors": [{"code": 400, "message": "invalid_client"}]})
        self.given_tokens += 1
        token = f"token-{self.given_tokens}"
        self.tokens.add(token)
        return answer(200, {"access_token": token, "expires_in": 3600, "token_type": "bearer"})

    def _lets_in(self, given: str) -> bool:
        if self.tokens is None:
            return given == BASIC
        return given.removeprefix("Bearer ") in self.tokens

    def _search(self, params: httpx.QueryParams) -> httpx.Response:
        column, value = params.get("where[0][col]"), params.get("where[0][val]")
        found = {
            str(number): {"id": number}
            for number, held in self.contacts.items()
            if column is None or held.get(column) == value
        }
        # PHP writes an empty list where there would be an object.
        return answer(200, {"total": str(len(found)), "contacts": found or []})

    def _edit(self, rows: list[dict[str, Any]]) -> httpx.Response:
        self.batches.append(len(rows))
        if len(rows) > self.limit:
            text = f"Maximum number of entities is {self.limit}"
            return answer(500, {"errors": [{"code": 500, "message": text}]})
        codes = [self._edit_one(row) for row in rows]
        errors: dict[str, Any] = {
            str(place): {"code": code, "message": "No", "details": {}, "type": None}
            for place, code in enumerate(codes)
            if code != 200
        }
        content: dict[str, Any] = {"contacts": [], "statusCodes": codes}
        if errors:
            content["errors"] = errors
        return answer(200, content)

    def _edit_one(self, row: dict[str, Any]) -> int:
        number = int(row["id"])
        if number not in self.contacts:
            return 404
        if number in self.forbidden:
            return 403
        if number in self.invalid:
            return 400
        self.contacts[number] |= {name: row[name] for name in row if name in self.fields}
        return 200


@dataclass
class FakeSendGrid:
    """Upserts as jobs, which end when they were asked about often enough."""

    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    definitions: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {
            "foresend_score": ("e1_N", "Number"),
            "foresend_tier": ("e2_T", "Text"),
            "foresend_action": ("e3_T", "Text"),
            "foresend_holdout": ("e4_T", "Text"),
        }
    )
    pending_polls: int = 1
    #: Contacts that a job cannot use.
    invalid: set[str] = field(default_factory=set)
    #: Contacts of each job, and how often it was asked about.
    jobs: dict[str, tuple[list[dict[str, Any]], int]] = field(default_factory=dict)
    #: Contacts of each call.
    puts: list[int] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != "Bearer SG.token":
            return answer(401, {"errors": [{"message": "authorization required"}]})
        path = request.url.path.removeprefix("/v3/marketing/")
        match request.method, path.rpartition("/"):
            case "GET", (_, _, "field_definitions"):
                rows = [
                    {"id": number, "name": name, "field_type": kind}
                    for name, (number, kind) in self.definitions.items()
                ]
                return answer(200, {"custom_fields": rows, "reserved_fields": []})
            case "PUT", (_, _, "contacts"):
                return self._put(request.content)
            case "GET", ("contacts/imports", _, job) if job in self.jobs:
                return self._about(job)
        return answer(404, {"errors": [{"message": "not found"}]})

    def _put(self, content: bytes) -> httpx.Response:
        contacts = json.loads(content)["contacts"]
        self.puts.append(len(contacts))
        known = {number for number, _ in self.definitions.values()}
        if len(contacts) > 30_000 or len(content) > 6_000_000:
            return answer(413, {"errors": [{"message": "too large"}]})
        for one in contacts:
            if not set(one["custom_fields"]) <= known or not one.get("external_id"):
                return answer(400, {"errors": [{"message": "invalid", "field": "contacts"}]})
        job = f"job-{len(self.puts)}"
        self.jobs[job] = contacts, 0
        return answer(202, {"job_id": job})

    def _about(self, job: str) -> httpx.Response:
        contacts, polls = self.jobs[job]
        if polls < self.pending_polls:
            self.jobs[job] = contacts, polls + 1
            return answer(200, {"id": job, "status": "pending", "results": {}})
        good = [one for one in contacts if one["external_id"] not in self.invalid]
        for one in good:
            self.contacts.setdefault(one["external_id"], {}).update(one["custom_fields"])
        status = "completed" if len(good) == len(contacts) else "errored" if good else "failed"
        results = {
            "requested_count": len(contacts),
            "errored_count": len(contacts) - len(good),
        }
        return answer(200, {"id": job, "status": status, "results": results})


@dataclass
class FakeListmonk:
    """Subscribers by id; the one expression that is asked for is understood."""

    subscribers: dict[int, dict[str, Any]] = field(default_factory=dict)
    knows_patch: bool = True
    invalid: set[int] = field(default_factory=set)
    queries: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != BASIC:
            return answer(403, {"message": "invalid session"})
        if request.method == "GET" and request.url.path == "/api/subscribers":
            return self._query(request.url.params)
        number = int(request.url.path.removeprefix("/api/subscribers/"))
        if request.method != "PATCH" or not self.knows_patch:
            return answer(405, {"message": "Method Not Allowed"})
        if number not in self.subscribers:
            return answer(400, {"message": "Subscriber not found"})
        if number in self.invalid:
            return answer(400, {"message": "Invalid name"})
        held = self.subscribers[number]
        # The stored object is what the body is decoded into, so keys that are not sent stay.
        held["attribs"] = held["attribs"] | json.loads(request.content)["attribs"]
        return answer(200, {"data": {"id": number, **held}})

    def _query(self, params: httpx.QueryParams) -> httpx.Response:
        query = params.get("query", "")
        self.queries.append(query)
        wanted = literals(query)
        rows = [
            {"id": number, **held}
            for number, held in self.subscribers.items()
            if not query or self._value(query, held) in wanted
        ]
        page = rows[: int(params["per_page"])]
        return answer(200, {"data": {"results": page, "total": len(rows), "page": 1}})

    def _value(self, query: str, held: dict[str, Any]) -> str | None:
        if query.startswith("subscribers.email IN"):
            return str(held["email"])
        name = query.split("'")[1]
        value = held["attribs"].get(name)
        return None if value is None else str(value)


def literals(query: str) -> list[str]:
    """The texts of `... IN ('a', 'o''neil')`, read as PostgreSQL reads them."""
    _, _, rest = query.partition(" IN (")
    found, position = [], 0
    while position < len(rest) and rest[position] == "'":
        text, position = "", position + 1
        while rest[position] != "'" or rest[position + 1 : position + 2] == "'":
            text += rest[position]
            position += 2 if rest[position] == "'" else 1
        found.append(text)
        position += 1 + len(", ") * rest[position + 1 :].startswith(", ")
    assert rest[position:] == ")" or not query
    return found
