"""How much two tables of vectors know of one another: the InfoNCE lower bound on their mutual information.

Aaron van den Oord, Yazhe Li, Oriol Vinyals: "Representation Learning with Contrastive Predictive Coding", 2018
(arXiv 1807.03748), equation 5; as a bound in Ben Poole et al.: "On Variational Bounds of Mutual Information", ICML
2019, equation 10. For K pairs (x_k, y_k) and any critic f,

    I(X; Y) >= E[ 1/K sum_k log( e^f(x_k, y_k) / (1/K sum_m e^f(x_k, y_m)) ) ] <= log K.

The critic is f(x, y) = -|A x - B y|² / 2 on whitened vectors, the best one for Gaussian pairs, or with a
perceptron on each side. It is fitted on one half of the rows and the bound is measured on the other, so that what
is learned by heart does not count: the value may then be below zero, where the critic has learned nothing that
holds.

A bound is no estimate. It cannot exceed log K, and a weak critic lowers it; a change between two tables says
something where both are far below log K, were measured with one critic on the same halves, and the control is
about zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.config import Config
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.errors import DataError
from hnlmrec.rng import RandomStreams

Floats = npt.NDArray[np.float32]
_LEAST_VARIANCE = 1e-6  # of the largest component; smaller ones are rounding, and whitening would blow them up


class InformationConfig(Config):
    """How the bound is fitted and measured."""

    ks: tuple[int, ...] = Field((8, 32, 128), min_length=1)
    """K: pairs that each positive is told from, itself among them; the bound is at most log K."""
    critic: Literal["linear", "mlp"] = "linear"
    """A and B, or a perceptron with a residual in the place of each."""
    rank: int = Field(16, ge=1)
    """Principal components of each side that the critic sees, and length of A x and B y."""
    hidden_size: int = Field(64, ge=1)
    """Of the perceptrons."""
    learning_rate: float = Field(0.01, gt=0)
    """Of Adam."""
    weight_decay: float = Field(1e-3, ge=0)
    """Of the critic's weights."""
    batch_size: int = Field(128, ge=2)
    """Pairs that are told apart in a step of the fit."""
    steps: int = Field(400, ge=1)
    """Steps of the fit at most; the critic of the step that is best on a fifth of the fitting half is kept."""
    rounds: int = Field(20, ge=1)
    """Random partitions of the measured half into groups of K that the bound is the mean over."""


@dataclass(frozen=True)
class InformationBound:
    """The bound at one K, in nats.

    Attributes:
        k: K.
        bound: mean over the measured rows.
        interval: bound -+ 1.96 standard errors over the measured rows, the critic held fixed.
        cap: log K, which the bound cannot exceed.
        control: the same with the pairs shuffled, for fit and measurement; about zero, or slightly below.
    """

    k: int
    bound: float
    interval: tuple[float, float]
    cap: float
    control: float


def mutual_information_bounds(
    left: EmbeddingTable, right: EmbeddingTable, config: InformationConfig, streams: RandomStreams
) -> list[InformationBound]:
    """Bound the mutual information of two tables' vectors from below, over the ids that both hold.

    Args:
        left: X.
        right: Y; the vectors may have another length.
        config: see `InformationConfig`.
        streams: "information" decides halves, critic and groups; with equal seeds and ids, two calls share halves.

    Returns:
        One bound for each K, in the order of the configuration.

    Raises:
        DataError: too few common ids for the largest K, vectors that are not finite, or all alike.
    """
    ids = sorted(id_ for id_ in left.ids.all_ids if id_ in right.ids)
    seed = streams.integer("information")
    rng = np.random.default_rng(seed)
    if len(ids) // 2 < max(*config.ks, 10):
        raise DataError(
            f"the two tables have {len(ids)} ids in common, half of which are measured; K = {max(config.ks)} "
            f"needs at least {2 * max(*config.ks, 10)}. Give larger tables of the same ids, or a smaller K."
        )
    order = rng.permutation(len(ids))
    x, y = (table.rows(ids)[0][order] for table in (left, right))
    shuffled = y[rng.permutation(len(y))]
    half = len(ids) // 2
    measured = [_measure(x, values, half, config, seed) for values in (y, shuffled)]
    return [
        InformationBound(k, *_interval(values), float(np.log(k)), float(control.mean()))
        for k, values, control in zip(config.ks, *measured, strict=True)
    ]


def _measure(x: Floats, y: Floats, half: int, config: InformationConfig, seed: int) -> list[npt.NDArray[Any]]:
    """Fit on the first rows, return each other row's term, [n], for each K."""
    generator = torch.Generator().manual_seed(seed)
    (fit_x, held_x), (fit_y, held_y) = (_whitened(values, half, config.rank) for values in (x, y))
    critic = _Critic(fit_x.shape[1], fit_y.shape[1], config, generator)
    _fit(critic, fit_x, fit_y, config, generator)
    with torch.no_grad():
        scores = critic(held_x, held_y)  # [n, n]
        return [_terms(scores, k, config.rounds, generator) for k in config.ks]


def _terms(scores: Tensor, k: int, rounds: int, generator: torch.Generator) -> npt.NDArray[Any]:
    """Return each row's mean term over random groups of K, [n]; those of a round's rest wait."""
    n = len(scores)
    sums, counts = torch.zeros(n), torch.zeros(n)
    for _ in range(rounds):
        groups = torch.randperm(n, generator=generator)[: n // k * k].view(-1, k)
        inside = scores[groups[:, :, None], groups[:, None, :]]  # [n / K, K, K]
        own = inside.diagonal(dim1=1, dim2=2)
        terms = own - torch.logsumexp(inside, dim=2) + float(np.log(k))
        sums.index_add_(0, groups.flatten(), terms.flatten())
        counts.index_add_(0, groups.flatten(), torch.ones(groups.numel()))
    return np.asarray((sums / counts.clamp(min=1))[counts > 0].numpy())


class _Critic(nn.Module):
    """f(x, y) = -|g(x) - h(y)|² / 2 for all pairs of rows."""

    def __init__(self, x_size: int, y_size: int, config: InformationConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.x_side, self.y_side = (_Side(size, config, generator) for size in (x_size, y_size))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the scores, [n, m]."""
        a: Tensor = self.x_side(x)
        b: Tensor = self.y_side(y)
        # |g(x)|² is the same for all y that an x is compared with, and would cancel.
        return a @ b.T - b.square().sum(dim=1) / 2


class _Side(nn.Module):
    """A x, plus W2 relu(W1 x) where the critic is a perceptron, W2 being zero at first."""

    def __init__(self, size: int, config: InformationConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.map = nn.Parameter(0.1 * torch.randn(config.rank, size, generator=generator))
        self.hidden = self.out = None
        if config.critic == "mlp":
            self.hidden = nn.Parameter(torch.randn(config.hidden_size, size, generator=generator) * size**-0.5)
            self.out = nn.Parameter(torch.zeros(config.rank, config.hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        points = functional.linear(x, self.map)
        if self.hidden is None or self.out is None:
            return points
        return points + functional.linear(functional.relu(functional.linear(x, self.hidden)), self.out)


def _fit(critic: _Critic, x: Tensor, y: Tensor, config: InformationConfig, generator: torch.Generator) -> None:
    """Maximise the bound on four fifths of the rows; keep the weights that are best on the last fifth."""
    n = len(x) * 4 // 5
    optimizer = torch.optim.AdamW(critic.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    best, kept = float("inf"), {name: value.clone() for name, value in critic.state_dict().items()}
    for step in range(config.steps):
        if step % 10 == 0:
            with torch.no_grad():
                loss = float(_loss(critic, x[n:], y[n:]))
            if loss < best:
                best, kept = loss, {name: value.clone() for name, value in critic.state_dict().items()}
        rows = torch.randperm(n, generator=generator)[: config.batch_size]
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(_loss(critic, x[rows], y[rows]))
        optimizer.step()
    critic.load_state_dict(kept)


def _loss(critic: _Critic, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(critic(x, y), torch.arange(len(x)))


def _whitened(values: Floats, half: int, rank: int) -> tuple[Tensor, Tensor]:
    """Return (fitted rows, measured rows) as principal components of variance 1; the first rows fix them."""
    if not np.isfinite(values).all():
        raise DataError("the vectors hold values that are not finite; make the table again.")
    fitted = values[:half].astype(np.float64)
    mean = fitted.mean(axis=0)
    _, lengths, directions = np.linalg.svd(fitted - mean, full_matrices=False)
    variances = lengths**2 / half
    n = min(rank, int((variances > variances[0] * _LEAST_VARIANCE).sum()))
    if variances[0] < 1e-12 or not n:
        raise DataError("the vectors of a table are all alike, so they can tell nothing.")
    points = (values - mean) @ (directions[:n] / np.sqrt(variances[:n])[:, None]).T
    both = torch.from_numpy(points.astype(np.float32))
    return both[:half], both[half:]


def _interval(values: npt.NDArray[Any]) -> tuple[float, tuple[float, float]]:
    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, (mean - 1.96 * error, mean + 1.96 * error)
