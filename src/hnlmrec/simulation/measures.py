"""What is said of one method at one point of a training: bias, variance, hardness, false negatives."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hnlmrec.simulation.gradients import Half


def describe(halves: tuple[Half, Half], ideals: Mapping[str, Tensor], n_users: int) -> dict[str, float]:
    """Return the measures by name.

    Args:
        halves: the two halves of a method's draws; A and B below.
        ideals: name -> ideal gradient, [n_users + n_items, d].
        n_users: where the items' rows begin.

    Returns:
        false_share, false_positive_share, unreachable_share, hardness (mean of sigma(s_j - s_i)), hardness_true,
            hardness_false: see `gradients`, means of the halves.
        norm, oracle_norm: |G| and |G*|.
        bias: |G - G*| / |G*|; bias_users and bias_items: of those rows alone.
        cosine: of G and G*.
        noise: root of the mean squared distance of one pass over all positives from G, over |G*|. With steps of
            B pairs it is about sqrt(P / B) times as large.
        bias_NAME, cosine_NAME: |G - ideal| / |ideal| and the cosine, for each ideal.
    """
    a, b = halves
    facts = {name: (a.facts[name] + b.facts[name]) / 2 for name in a.facts}
    means, oracles = (a.mean, b.mean), (a.oracle, b.oracle)
    differences = (a.mean - a.oracle, b.mean - b.oracle)
    oracle_norm = _norm(oracles)
    parts = {"users": slice(0, n_users), "items": slice(n_users, None)}
    sides = {
        f"bias_{side}": _ratio(_norm(_rows(differences, rows)), _norm(_rows(oracles, rows)))
        for side, rows in parts.items()
    }
    noise = ((a.spread + b.spread) / 2) ** 0.5
    result = {
        **facts,
        "norm": _norm(means),
        "oracle_norm": oracle_norm,
        "bias": _ratio(_norm(differences), oracle_norm),
        **sides,
        "cosine": _cosine(means, oracles),
        "noise": _ratio(noise, oracle_norm),
    }
    for name, ideal in ideals.items():
        known = (ideal, ideal)
        result[f"bias_{name}"] = _ratio(_norm((a.mean - ideal, b.mean - ideal)), _norm(known))
        result[f"cosine_{name}"] = _cosine(means, known)
    return result


def _rows(pair: tuple[Tensor, Tensor], rows: slice) -> tuple[Tensor, Tensor]:
    return pair[0][rows], pair[1][rows]


def _dot(left: Tensor, right: Tensor) -> float:
    return float(torch.dot(left.double().flatten(), right.double().flatten()))


def _norm(pair: tuple[Tensor, Tensor]) -> float:
    """Return sqrt(<A, B>), 0 where chance has made the product negative."""
    return math.sqrt(max(_dot(*pair), 0.0))


def _cosine(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> float:
    """Return (<l_A, r_B> + <l_B, r_A>) / 2 over the norms; at most 1."""
    product = (_dot(left[0], right[1]) + _dot(left[1], right[0])) / 2
    return min(_ratio(product, _norm(left) * _norm(right)), 1.0)


def _ratio(value: float, scale: float) -> float:
    return value / scale if scale else float("nan")
