"""Which new path took the place of which vanished one.

Score = 0.4 name similarity + 0.6 value similarity. All pairs are assigned at once, so that two
renames do not claim the same path; a pair is proposed only if it is good (`GOOD`) and nothing
else comes near (`MARGIN`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rapidfuzz import fuzz
from scipy.optimize import linear_sum_assignment

from feature_repo.ingest.drift.values import value_similarity

GOOD: Final = 0.8
MARGIN: Final = 0.15
_NAME: Final = 0.4
_VALUE: Final = 0.6

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SAME_WORDS: Final = {
    **dict.fromkeys(("timestamp", "time", "date", "datetime", "ts", "at", "epoch", "when"), "time"),
    **dict.fromkeys(("email", "mail", "recipient", "address", "rcpt", "to"), "address"),
    **dict.fromkeys(("url", "link", "href", "uri"), "url"),
    **dict.fromkeys(("useragent", "agent", "ua"), "agent"),
    **dict.fromkeys(("identifier", "uid", "uuid"), "id"),
    **dict.fromkeys(("total", "amount", "value", "price", "revenue"), "amount"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """A vanished path and the best candidate for what it is called now."""

    old: str
    new: str
    score: float
    name_score: float
    value_score: float
    #: Distance to the next best pair with either of the two.
    margin: float

    @property
    def is_proposed(self) -> bool:
        """Whether the evidence is good enough to be put before a person as a change."""
        return self.score >= GOOD and self.margin >= MARGIN


def find_renames(
    vanished: Mapping[str, Sequence[Any]], appeared: Mapping[str, Sequence[Any]]
) -> list[Rename]:
    """One candidate for each vanished path that can have one, the best first.

    Both map paths to values: the vanished ones as they were, the new ones as they are.
    """
    if not vanished or not appeared:
        return []
    old, new = sorted(vanished), sorted(appeared)
    names = np.array([[name_similarity(a, b) for b in new] for a in old])
    values = np.array([[value_similarity(vanished[a], appeared[b]) for b in new] for a in old])
    scores = _NAME * names + _VALUE * values
    rows, columns = linear_sum_assignment(scores, maximize=True)
    found = [
        Rename(
            old=old[row],
            new=new[column],
            score=round(float(scores[row, column]), 3),
            name_score=round(float(names[row, column]), 3),
            value_score=round(float(values[row, column]), 3),
            margin=round(_margin(scores, row, column), 3),
        )
        for row, column in zip(rows, columns, strict=True)
    ]
    return sorted(found, key=lambda rename: (-rename.score, rename.old))


def name_similarity(old: str, new: str) -> float:
    """How alike two paths are by the words of their names, from 0 to 1; the last part counts most.

    >>> name_similarity("timestamp", "eventTimestamp"), name_similarity("email", "recipient")
    (1.0, 1.0)
    """
    last = fuzz.token_set_ratio(_words(old.rpartition(".")[2]), _words(new.rpartition(".")[2]))
    whole = fuzz.token_set_ratio(_words(old), _words(new))
    return max(float(last), 0.5 * float(last) + 0.5 * float(whole)) / 100


def _words(path: str) -> str:
    words = (word.lower() for word in _WORD.findall(path))
    return " ".join(_SAME_WORDS.get(word, word) for word in words)


def _margin(scores: Any, row: int, column: int) -> float:
    rest = [*np.delete(scores[row], column), *np.delete(scores[:, column], row)]
    return float(scores[row, column] - max(rest, default=0.0))
