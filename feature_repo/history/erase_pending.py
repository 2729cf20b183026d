"""What an erasure that is under way must remember if it is killed; deleted at its end."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from feature_repo.history.erase_person import Person
from feature_repo.history.erasure_receipt import hashed, new_id, new_salt, write_json

_SUFFIX: Final = ".pending.json"


@dataclass(kw_only=True)
class Pending:
    """One erasure. Holds no id and no address, only salted hashes of them."""

    folder: Path
    id: str
    salt: str
    customer_hash: str
    started_at: datetime
    addresses: frozenset[str] = frozenset()
    stores: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, folder: Path, customer_id: str, now: datetime) -> Pending:
        """The unfinished erasure of the customer, or a new one."""
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            held = json.loads(path.read_text())
            if hashed(customer_id, held["salt"]) == held["customer_hash"]:
                return cls(
                    folder=folder,
                    id=held["id"],
                    salt=held["salt"],
                    customer_hash=held["customer_hash"],
                    started_at=datetime.fromisoformat(held["started_at"]),
                    addresses=frozenset(held["addresses"]),
                    stores=Counter(held["stores"]),
                )
        salt = new_salt()
        return cls(
            folder=folder,
            id=new_id(),
            salt=salt,
            customer_hash=hashed(customer_id, salt),
            started_at=now,
        )

    def knows(self, address: str) -> bool:
        """Whether this address was found before."""
        return bool(self.addresses) and self._digest(address) in self.addresses

    def remember(self, person: Person) -> None:
        """Keep the person's addresses findable: the raw store may lose its hints first."""
        self.addresses |= {self._digest(address) for address in person.addresses}
        self._save()

    def count(self, store: str, erased: int) -> None:
        """Note what was removed from a store."""
        self.stores[store] += erased
        self._save()

    def finish(self) -> None:
        """There is a receipt now."""
        self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.id}{_SUFFIX}"

    def _digest(self, address: str) -> str:
        return hashlib.sha256(f"{self.salt}{address}".encode()).hexdigest()

    def _save(self) -> None:
        write_json(
            self._path,
            {
                "id": self.id,
                "salt": self.salt,
                "customer_hash": self.customer_hash,
                "started_at": self.started_at.isoformat(),
                "addresses": sorted(self.addresses),
                "stores": dict(self.stores),
            },
        )
