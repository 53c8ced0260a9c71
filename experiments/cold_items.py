"""Recall@20 of items that were held out whole, placed by their text alone.

    python experiments/cold_items.py ml-100k --min-rating 4

10 % of the items take no part in the training, neither do their texts in fitting the map. Every user with one of
them is given the 20 best of them. "most popular" knows how many users each held-out item has, which nobody could;
"nearest texts" is the mean vector of the 20 items with the nearest texts; the projectors are those of
`hnlmrec.alignment`, trained on the final vectors for 30 epochs.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from held_out import K, arguments, held_out, load, recall, train, without

from hnlmrec.alignment import AlignmentConfig, SemanticProjector, alignment_loss
from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.encoders import EncoderConfig, join_fields, open_encoder
from hnlmrec.serving.ranking import best_items
from hnlmrec.serving.text_projection import TextProjection


def trained_projector(texts, items, objective, seed):
    generator = torch.Generator().manual_seed(seed)
    config = AlignmentConfig(objective=objective)
    projector = SemanticProjector(texts, items.shape[1], config, generator=generator)
    optimizer = torch.optim.Adam(projector.parameters(), lr=1e-3)
    inputs, targets = torch.from_numpy(texts), torch.from_numpy(items)
    for _ in range(30):
        for rows in torch.randperm(len(texts), generator=generator).split(256):
            optimizer.zero_grad()
            alignment_loss(projector, inputs[rows], targets[rows]).backward()
            optimizer.step()
    return lambda new: projector(torch.from_numpy(new)).detach().numpy()


def nearest_texts(texts, items, new, k=20):
    unit, new = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (texts, new))
    return items[np.argsort(-(new @ unit.T), axis=1)[:, :k]].mean(axis=1)


def main() -> None:
    given = arguments(__doc__)
    prepared = load(given)
    data = prepared.dataset
    encoder = EncoderConfig(device="cpu", max_length=128)
    rows = prepared.items.iter_rows(named=True)
    texts = open_encoder(encoder).encode([join_fields(row, encoder.item_fields) for row in rows])
    out = held_out(data.n_items, 0.1, given.seed) & texts.any(axis=1)
    parts = (data.train, data.valid, data.test)
    known = InteractionDataset(data.users, data.items, *(without(part, out[part.indices]) for part in parts))
    vectors = train(known, given)
    users, items = vectors.users.numpy(), vectors.items.numpy()
    cold, degrees = np.flatnonzero(out), known.train.item_degrees
    place = np.cumsum(out) - 1
    pairs = [(part.users[out[part.indices]], place[part.indices[out[part.indices]]]) for part in parts]
    relevant = Interactions.from_pairs(*map(np.concatenate, zip(*pairs, strict=True)), data.n_users, len(cold))
    asked = np.flatnonzero((relevant.degrees > 0) & (known.train.degrees > 0))
    nothing = Interactions.from_pairs([], [], data.n_users, len(cold))

    def measure(points, people=users):
        points = np.ascontiguousarray(points, dtype=np.float32)
        return recall(relevant, asked, best_items(people[asked], points, min(K, len(cold)), nothing, asked)[0])

    warm = np.flatnonzero(~out & (degrees > 0) & texts.any(axis=1))
    rng = np.random.default_rng(given.seed)
    random = [measure(rng.normal(size=(len(cold), items.shape[1]))) for _ in range(20)]
    figures = {"random": float(np.mean(random))}
    ones = np.ones((data.n_users, 1), dtype=np.float32)
    figures["most popular"] = measure(relevant.item_degrees[:, None], ones)
    figures["nearest texts"] = measure(nearest_texts(texts[warm], items[warm], texts[cold]))
    for objective in ("cosine", "mse", "contrastive"):
        project = trained_projector(texts[warm], items[warm], objective, given.seed)
        figures[f"projector, {objective}"] = measure(project(texts[cold]))
    for penalty in (1.0, 10.0, 100.0):
        project = TextProjection.fit(np.where(out[:, None], 0, texts), items, degrees, penalty=penalty)
        figures[f"TextProjection, penalty {penalty:g}"] = measure(project(texts[cold]))
    rounded = {name: round(value, 4) for name, value in figures.items()}
    sizes = {"users": len(asked), "cold_items": len(cold), "items": data.n_items}
    print(json.dumps({"source": given.source, "model": given.model, **sizes, "recall@20": rounded}))


if __name__ == "__main__":
    main()
