"""Path attribution: what each feature added to a row's margin on its way down every tree.

A node's value is the mean of its leaves, weighted by the training rows in them; a step from a node
to its child belongs to the feature that was asked there. The steps of a path and the value of its
root sum to the leaf (Saabas, "Interpreting random forests", 2014). It costs about as much as the
score; SHAP values, which share the credit of features that act together more fairly, cost hundreds
of times that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.kernels.libraries import EngineFailed

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_INNER: Final = ("split_feature", "left_child", "right_child")
_END: Final = "\nend of trees"


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of a booster as arrays, one after another."""

    #: Where each tree's leaves begin among all leaves, and where the last ends; (trees + 1,).
    leaf_starts: Places
    leaf_value: Floats
    #: Training rows in each leaf.
    leaf_count: Floats
    #: Per inner node: the feature it asks, and its children; a leaf is -1 - its place.
    split_feature: Places
    left: Places
    right: Places


def read_forest(text: str) -> Forest:
    """The trees of a booster in LightGBM's text form.

    Read line by line and number by number in C, so that no thread waits long for the interpreter.

    Raises:
        EngineFailed: a part is missing, or a leaf is not one number.
    """
    lines: dict[str, list[str]] = {name: [] for name in (*_INNER, "leaf_value", "leaf_count")}
    for line in text[: text.find(_END)].split("\n"):
        name, _, value = line.partition("=")
        if name in lines:
            lines[name].append(value)
        elif name == "is_linear" and value != "0":
            message = "The leaves of the booster are linear models; one number each is needed."
            raise EngineFailed(message)
    if not lines["leaf_value"] or len({len(values) for values in lines.values()}) != 1:
        message = "The booster's text has no trees, or lacks a line of one."
        raise EngineFailed(message)
    leaves = [_doubles(value) for value in lines["leaf_value"]]
    inner = {name: [_integers(value) for value in lines[name]] for name in _INNER}
    leaf_starts = _starts([len(values) for values in leaves])
    node_starts = _starts([len(values) for values in inner["left_child"]])
    return Forest(
        leaf_starts=leaf_starts,
        leaf_value=np.concatenate(leaves),
        leaf_count=np.concatenate([_doubles(value) for value in lines["leaf_count"]]),
        split_feature=np.concatenate(inner["split_feature"]),
        left=_shifted(inner["left_child"], node_starts, leaf_starts),
        right=_shifted(inner["right_child"], node_starts, leaf_starts),
    )


class PathTable:
    """What each feature adds on the way to every leaf of a forest.

    Holds a double per leaf and feature: 7 MB for 300 trees of 31 leaves that read 100 features.
    """

    def __init__(self, forest: Forest, features: int) -> None:
        """Walk from all leaves upwards at once.

        Raises:
            EngineFailed: the children do not make trees, or a feature is beyond `features`.
        """
        if len(forest.split_feature) and forest.split_feature.max() >= features:
            message = f"The booster asks feature {forest.split_feature.max()} of {features}."
            raise EngineFailed(message)
        self._starts = forest.leaf_starts[:-1]
        above, top = _parents(forest)
        values = _node_values(forest, above, top)
        self._added = np.zeros((len(above), features))
        below, at = forest.leaf_value.copy(), above
        while len(on := np.flatnonzero(at >= 0)):
            node = at[on]
            self._added[on, forest.split_feature[node]] += below[on] - values[node]
            below[on] = values[node]
            at[on] = top[node]
        #: Sum of the roots: the mean margin of the training rows.
        self.base = float(below[self._starts].sum())

    def add_up(self, leaves: Places) -> Floats:
        """What each feature adds, of the leaf in each tree; (rows, features)."""
        found = np.empty((len(leaves), self._added.shape[1]))
        # By row: the parts of many rows at once would not fit the processor's cache.
        for at, places in enumerate(leaves + self._starts):
            np.add.reduce(self._added.take(places, axis=0), axis=0, out=found[at])
        return found


def _parents(forest: Forest) -> tuple[Places, Places]:
    """The node above each leaf, and above each inner node; -1: none."""
    leaves, nodes = len(forest.leaf_value), len(forest.left)
    children = np.concatenate((forest.left, forest.right))
    inner = children >= 0
    trees = len(forest.leaf_starts) - 1
    # The library reads whatever a child points at; here it would at least be noticed.
    if (children >= nodes).any() or (children < -leaves).any():
        message = "The booster's text has a child that is not there."
        raise EngineFailed(message)
    above = np.full(leaves, -1, dtype=np.intp)
    top = np.full(nodes, -1, dtype=np.intp)
    asking = np.tile(np.arange(nodes), 2)
    top[children[inner]] = asking[inner]
    above[-1 - children[~inner]] = asking[~inner]
    roots = (top < 0).sum() + (above < 0).sum()
    # Children come after their parents, so that every walk upwards ends.
    if (top >= np.arange(nodes)).any() or roots != trees:
        message = "The booster's text has a node before its parent, or one with two parents."
        raise EngineFailed(message)
    return above, top


def _node_values(forest: Forest, above: Places, top: Places) -> Floats:
    """The mean leaf under each inner node, by training rows."""
    nodes = len(top)
    # A booster that was refitted may have leaves without rows.
    weight = np.maximum(forest.leaf_count, 1e-9)
    weighted = weight * forest.leaf_value
    sums, weights, at = np.zeros(nodes), np.zeros(nodes), above
    while (on := at >= 0).any():
        at, weight, weighted = at[on], weight[on], weighted[on]
        sums += np.bincount(at, weighted, minlength=nodes)
        weights += np.bincount(at, weight, minlength=nodes)
        at = top[at]
    return sums / weights


def _starts(lengths: list[int]) -> Places:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.intp)))


def _shifted(children: list[Places], node_starts: Places, leaf_starts: Places) -> Places:
    """Children by their place among all nodes, or among all leaves."""
    return np.concatenate(
        [
            np.where(child >= 0, child + node, child - leaf)
            for child, node, leaf in zip(children, node_starts[:-1], leaf_starts[:-1], strict=True)
        ]
    )


def _doubles(text: str) -> Floats:
    return np.fromstring(text, dtype=np.float64, sep=" ")


def _integers(text: str) -> Places:
    return np.fromstring(text, dtype=np.intp, sep=" ")
