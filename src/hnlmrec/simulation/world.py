"""Worlds with planted preferences: for every user and item it is known whether it is liked, observed or not.

    p(u, j) = sigmoid(sharpness z_u . z_j / sqrt(r) + b),   z ~ N(0, I_r)       preference
    Y(u, j) ~ Bernoulli(p(u, j))                                                liked, the truth
    o(j) = min(1, c rank(j)^-skew)                                              exposure, by popularity alone
    X(u, j) = Y(u, j) Bernoulli(o(j))                                           observed

b and c are set so that the shares of liked and of observed pairs are those that were asked for. A liked pair that
is not in the train split is a false negative for whoever draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.optimize import brentq
from scipy.special import expit

from hnlmrec.config import Config
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.errors import DataError
from hnlmrec.rng import RandomStreams

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class WorldConfig(Config):
    """How preferences are planted, and what can be seen of them."""

    n_users: int = Field(200, ge=2)
    """Number of users."""
    n_items: int = Field(300, ge=10)
    """Number of items."""
    n_factors: int = Field(6, ge=1)
    """r, the rank of the preferences."""
    sharpness: float = Field(4.0, gt=0)
    """Standard deviation of the preferences' logits: large values make tastes almost certain."""
    liked_share: float = Field(0.08, gt=0, lt=0.5)
    """Share of all pairs that are liked."""
    observed_share: float = Field(0.4, gt=0, lt=1)
    """Share of the liked pairs that are observed; the others are false negatives."""
    popularity_skew: float = Field(0.8, ge=0)
    """Exponent of the exposure over the items' ranks: 0 exposes all items alike."""
    valid_share: float = Field(0.15, gt=0, lt=1)
    """Share of the observed pairs that are the validation split."""
    text_size: int = Field(24, ge=1)
    """Length of a text vector; at least r."""
    text_snr: float = Field(1.0, gt=0)
    """Signal over noise of the texts, as lengths: at 1 a text vector is half noise."""
    behaviour_snr: float = Field(1.0, gt=0)
    """The same of what a tuned LLM knows of behaviour: the logits of the preferences, with noise on them."""


@dataclass(frozen=True, eq=False)
class PlantedWorld:
    """A world: its data set is what samplers see, the rest is the truth and two noisy views of it.

    Attributes:
        dataset: train and valid are the observed pairs, test all liked pairs that are not observed.
        probabilities: float64 [n_users, n_items], p.
        liked: bool [n_users, n_items], Y.
        user_texts: float32 [n_users, d_text], z_u through a random isometry, plus noise.
        item_texts: float32 [n_items, d_text], z_j through the same isometry, plus noise.
        behaviour: float64 [n_users, n_items], the logits of p over `sharpness`, plus noise.
    """

    dataset: InteractionDataset
    probabilities: Doubles
    liked: Flags
    user_texts: npt.NDArray[np.float32]
    item_texts: npt.NDArray[np.float32]
    behaviour: Doubles

    @property
    def train(self) -> Flags:
        """The train split as a table, bool [n_users, n_items]."""
        return self.dataset.train.to_scipy().toarray() > 0

    @property
    def false_negatives(self) -> Flags:
        """Liked pairs outside of train, bool [n_users, n_items]: what no sampler should draw."""
        return self.liked & ~self.train


def plant_world(config: WorldConfig, streams: RandomStreams) -> PlantedWorld:
    """Make a world.

    Args:
        config: see `WorldConfig`.
        streams: preferences, exposure, split and views have a stream each, so that a change of the signal-to-noise
            ratio of a view leaves all else as it was.

    Raises:
        DataError: the settings leave no world (a text vector shorter than r; nothing observed; all items liked).
    """
    if config.text_size < config.n_factors:
        raise DataError(
            f"text_size is {config.text_size} and n_factors {config.n_factors}: texts of that length cannot hold "
            f"the planted factors. Set text_size to at least {config.n_factors}."
        )
    rng = streams.generator("world/preferences")
    users, items = (rng.normal(size=(n, config.n_factors)) for n in (config.n_users, config.n_items))
    spread = config.sharpness * users @ items.T / np.sqrt(config.n_factors)
    logits = spread + _solve(lambda b: float(expit(spread + b).mean()) - config.liked_share, -100.0, 100.0)
    probabilities = expit(logits)
    liked = rng.random(logits.shape) < probabilities
    observed = liked & (
        streams.generator("world/exposure").random(liked.shape) < _exposure(config, liked, streams)
    )
    if not observed.any() or liked.all(axis=1).any():
        raise DataError(
            f"in this world of {config.n_users} users and {config.n_items} items nothing is observed, or a user "
            "likes all items. Make it larger, or change liked_share and observed_share."
        )
    texts = _texts(config, users, items, streams.generator("world/texts"))
    noise = streams.generator("world/behaviour").normal(size=logits.shape) / config.behaviour_snr
    dataset = _dataset(config, liked, observed, streams.generator("world/split"))
    return PlantedWorld(dataset, probabilities, liked, *texts, spread / config.sharpness + noise)


def _exposure(config: WorldConfig, liked: Flags, streams: RandomStreams) -> Doubles:
    """Return o, float64 [n_items]."""
    ranks = streams.generator("world/popularity").permutation(config.n_items) + 1.0
    weights = ranks**-config.popularity_skew
    counts = liked.sum(axis=0)

    def excess(c: float) -> float:
        return float((counts * np.minimum(1.0, c * weights)).sum() / max(counts.sum(), 1)) - config.observed_share

    return np.asarray(np.minimum(1.0, _solve(excess, 0.0, 1.0 / float(weights.min())) * weights))


def _texts(
    config: WorldConfig, users: Doubles, items: Doubles, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    isometry, _ = np.linalg.qr(rng.normal(size=(config.text_size, config.n_factors)))
    noise = np.sqrt(config.n_factors / config.text_size) / config.text_snr
    user_texts, item_texts = (
        (factors @ isometry.T + noise * rng.normal(size=(len(factors), config.text_size))).astype(np.float32)
        for factors in (users, items)
    )
    return user_texts, item_texts


def _dataset(config: WorldConfig, liked: Flags, observed: Flags, rng: np.random.Generator) -> InteractionDataset:
    is_valid = observed & (rng.random(observed.shape) < config.valid_share)
    parts = []
    for part in (observed & ~is_valid, is_valid, liked & ~observed):
        pairs = np.nonzero(part)
        parts.append(Interactions.from_pairs(pairs[0], pairs[1], *liked.shape))
    users = Vocabulary((f"u{n}" for n in range(config.n_users)), "user")
    return InteractionDataset(users, Vocabulary((f"i{n}" for n in range(config.n_items)), "item"), *parts)


def _solve(excess: Callable[[float], float], low: float, high: float) -> float:
    return float(brentq(excess, low, high))
