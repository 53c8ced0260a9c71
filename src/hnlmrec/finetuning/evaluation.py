"""What the encoder knows of held-out triplets: measured before and after the fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import Interactions
from hnlmrec.finetuning.encoder import CollaborativeEncoder
from hnlmrec.finetuning.inputs import (
    EncoderInputs,
    Floats,
    hard_negative_prompt,
    item_prompt,
    preference_prompt,
)
from hnlmrec.finetuning.triplets import Triplets, TripletsConfig
from hnlmrec.finetuning.triplets.base import TripletInputs, joined
from hnlmrec.finetuning.triplets.random_items import random_items

Doubles = npt.NDArray[np.float64]


def evaluate_triplets(
    encoder: CollaborativeEncoder,
    triplets: Triplets,
    inputs: EncoderInputs,
    random: npt.NDArray[np.int64],
    *,
    batch_size: int = 32,
) -> dict[str, float]:
    """Measure both tasks on triplets; nothing is trained.

    Args:
        encoder: in any state.
        triplets: n rows.
        inputs: texts and CF vectors.
        random: int64 [n], an item that the user has not for each row; see `random_negatives`.
        batch_size: prompts encoded at once.

    Returns:
        `hard_over_interacted`: share of triplets where cos(q, hard) > cos(q, interacted), q the hard-negative
        query; `hard_over_random` likewise. `preference_auc_hard`: area under the curve of cos(q, interacted)
        against cos(q, hard) over all triplets, q the preference query without the interacted item in its history;
        `preference_auc_random` likewise; `preference_accuracy_hard` and `_random`: share of triplets in which the
        interacted item wins. `cf_auc_hard`, `cf_auc_random`: the same areas of the dot products of the CF vectors,
        which the encoder is to beat.
    """
    vectors = _item_vectors(encoder, triplets, inputs, random, batch_size)
    interacted, hard, other = (vectors[key] for key in ("interacted", "hard", "random"))
    pairs = zip(triplets.users, triplets.positives, strict=True)
    asked = encoder.encode([hard_negative_prompt(u, i) for u, i in pairs], inputs, batch_size=batch_size)
    pairs = zip(triplets.users, triplets.positives, strict=True)
    liked = encoder.encode([preference_prompt(u, hidden=i) for u, i in pairs], inputs, batch_size=batch_size)
    users, items = inputs.users[triplets.users], inputs.items
    scores = [(users * items[which]).sum(axis=1) for which in (triplets.positives, triplets.hard, random)]
    likes = [_cosine(liked, documents) for documents in (interacted, hard, other)]
    return {
        "hard_over_interacted": _wins(_cosine(asked, hard), _cosine(asked, interacted)),
        "hard_over_random": _wins(_cosine(asked, hard), _cosine(asked, other)),
        "preference_auc_hard": area_under_curve(likes[0], likes[1]),
        "preference_auc_random": area_under_curve(likes[0], likes[2]),
        "preference_accuracy_hard": _wins(likes[0], likes[1]),
        "preference_accuracy_random": _wins(likes[0], likes[2]),
        "cf_auc_hard": area_under_curve(scores[0], scores[1]),
        "cf_auc_random": area_under_curve(scores[0], scores[2]),
    }


def quality(measures: Mapping[str, float], preference_share: float) -> float:
    """Return the mean of the measures of the tasks that are trained, by which the best encoder is kept."""
    names = ["hard_over_interacted", "hard_over_random"] if preference_share < 1 else []
    names += ["preference_auc_hard", "preference_auc_random"] if preference_share > 0 else []
    return float(np.mean([measures[name] for name in names]))


def random_negatives(
    triplets: Triplets, train: Interactions, inputs: EncoderInputs, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return an item that the user has not, for each triplet, int64 [n]."""
    source = TripletInputs(joined(train, triplets.users, triplets.positives), inputs.users, inputs.items)
    users = triplets.users.astype(np.int64)
    return random_items(source, TripletsConfig(strategy="random"), users, triplets.positives.astype(np.int64), rng)


def area_under_curve(positive: npt.NDArray[np.floating], negative: npt.NDArray[np.floating]) -> float:
    """Return the probability that a random positive score is above a random negative one; ties count half."""
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import

    ranks = rankdata(np.concatenate([positive, negative]))
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def _item_vectors(
    encoder: CollaborativeEncoder,
    triplets: Triplets,
    inputs: EncoderInputs,
    random: npt.NDArray[np.int64],
    batch_size: int,
) -> dict[str, Floats]:
    columns = {"interacted": triplets.positives, "hard": triplets.hard, "random": random}
    distinct, places = np.unique(np.concatenate(list(columns.values())), return_inverse=True)
    vectors = encoder.encode([item_prompt(item) for item in distinct], inputs, batch_size=batch_size)
    parts = np.split(places, len(columns))
    return {name: vectors[part] for name, part in zip(columns, parts, strict=True)}


def _cosine(one: Floats, other: Floats) -> Doubles:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / np.maximum(norms, 1e-12), dtype=np.float64)


def _wins(one: Doubles, other: Doubles) -> float:
    return float(((one > other) + 0.5 * (one == other)).mean())
