"""The receipt of an erasure: what was removed where and when, and nothing about whom.

The customer is in it as a salted, deliberately slow hash: who knows the id can tell that the
receipt is about it, and nobody can list ids by trying. A checksum shows later changes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from feature_repo.errors import UnusableInput
from feature_repo.sole import write_whole

_COST: Final = {"n": 2**14, "r": 8, "p": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an erasure did."""

    id: str
    salt: str
    customer_hash: str
    started_at: datetime
    erased_at: datetime
    #: What was removed, by store: rows, records, messages.
    stores: dict[str, int]
    #: Addresses that the raw store had of the customer.
    addresses: int
    #: Delta version of the log without the customer.
    log_version: int | None
    #: What an erasure cannot do, or could not do this time.
    notes: Sequence[str] = field(default_factory=tuple)
    tool_version: str = field(default_factory=lambda: version("foresend"))

    def is_about(self, customer_id: str) -> bool:
        """Whether it is this customer's."""
        return secrets.compare_digest(hashed(customer_id, self.salt), self.customer_hash)


def new_id() -> str:
    """A name for a receipt that says nothing."""
    return secrets.token_hex(8)


def new_salt() -> str:
    """A salt for `hashed`."""
    return secrets.token_hex(16)


def hashed(text: str, salt: str) -> str:
    """The salted hash of an id or address; takes about 50 ms, on purpose."""
    return hashlib.scrypt(text.encode(), salt=bytes.fromhex(salt), dklen=32, **_COST).hex()


def write_receipt(folder: Path, receipt: Receipt) -> Path:
    """Write the receipt, whole or not at all."""
    content = _content(receipt)
    return write_json(folder / f"{receipt.id}.json", {**content, "checksum": _checksum(content)})


def read_receipt(path: Path) -> Receipt:
    """The receipt in a file.

    Raises:
        UnusableInput: it is none, or was changed since.
    """
    try:
        content = json.loads(path.read_text())
        checksum = content.pop("checksum")
        times = {n: datetime.fromisoformat(content[n]) for n in ("started_at", "erased_at")}
        receipt = Receipt(**{**content, **times})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        message = f"{path} is not the receipt of an erasure ({exc})."
        raise UnusableInput(message) from exc
    if checksum != _checksum(content):
        message = f"The receipt {path} was changed after it was written: its checksum is wrong."
        raise UnusableInput(message)
    return receipt


def write_json(path: Path, content: dict[str, object]) -> Path:
    """Write a small file so that it appears whole, on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content, indent=2, sort_keys=True))
    return path


def _content(receipt: Receipt) -> dict[str, object]:
    times = {
        name: getattr(receipt, name).astimezone(UTC).isoformat()
        for name in ("started_at", "erased_at")
    }
    return {**asdict(receipt), **times, "notes": list(receipt.notes)}


def _checksum(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
