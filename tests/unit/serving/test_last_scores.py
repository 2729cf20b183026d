"""What a process remembers of its scores is bounded, and the newest is what is kept."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from serving.last_scores import LastScores
from tests.unit.serving.conftest import NOW

BATCHES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.lists(st.sampled_from("uvwxyz"), max_size=8)),
    max_size=30,
)


def put(held: LastScores, target: str, customers: Sequence[str], score: float) -> None:
    count = len(customers)
    held.put(
        target,
        customers,
        [score] * count,
        [0.0] * count,
        scored_at=NOW,
        model_version="1",
        canary=False,
    )


@given(batches=BATCHES, capacity=st.integers(0, 12))
def test_the_newest_scores_are_kept_and_no_others(
    batches: list[tuple[str, list[str]]], capacity: int
) -> None:
    held = LastScores(capacity)
    newest: dict[tuple[str, str], float] = {}
    for number, (target, customers) in enumerate(batches):
        put(held, target, customers, float(number))
        for customer in customers:
            newest.pop((target, customer), None)
            newest[target, customer] = float(number)
    kept = dict(list(newest.items())[-capacity:] if capacity else [])

    for target in "ab":
        found = held.get(target, "uvwxyz")
        assert [None if one is None else one.score for one in found] == [
            kept.get((target, customer)) for customer in "uvwxyz"
        ]
