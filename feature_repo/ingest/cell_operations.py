"""Operations that exports of e-mail services need: addresses to ids, JSON in a cell, parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import Field

from feature_repo.ingest.literals import text
from feature_repo.ingest.terms import Scope, Term

CUSTOMER_OF: Final = "customer_of_digest"
"""SQL macro from an address's SHA-256 to a customer id; `identities.py` makes it."""


class EmailId(Term):
    """The customer's id for the address in the column; missing when it holds no address.

    The same id as webhooks give: the installation's own if its table of identities has the
    address, else `e:` and 32 hex digits. The address itself does not become part of the event.
    """

    email_id: str

    def sql(self, scope: Scope) -> str:
        """See Term."""
        address = f"lower(trim({scope[self.email_id].value}::VARCHAR))"
        found = f"{CUSTOMER_OF}(sha256({address}))"
        return f"(CASE WHEN contains({address}, '@') THEN {found} END)"

    def reads(self) -> Iterator[str]:
        """See Term."""
        yield self.email_id


class JsonKey(Term):
    """The first of the keys that the JSON object in the column has."""

    json_in: str
    keys: tuple[str, ...] = Field(min_length=1)

    def sql(self, scope: Scope) -> str:
        """See Term."""
        cell = f"{scope[self.json_in].value}::VARCHAR"
        pointers = ("/" + key.replace("~", "~0").replace("/", "~1") for key in self.keys)
        found = ", ".join(
            f"nullif(trim(json_extract_string({cell}, {text(p)})), '')" for p in pointers
        )
        return f"(CASE WHEN json_valid({cell}) THEN coalesce({found}) END)"

    def reads(self) -> Iterator[str]:
        """See Term."""
        yield self.json_in


class Before(Term):
    """The text of the column before the first mark in it, or all of it."""

    before: str = Field(min_length=1)
    of: str

    def sql(self, scope: Scope) -> str:
        """See Term."""
        cell = f"{scope[self.of].value}::VARCHAR"
        return f"nullif(split_part({cell}, {text(self.before)}, 1), '')"

    def reads(self) -> Iterator[str]:
        """See Term."""
        yield self.of
