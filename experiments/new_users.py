"""Recall@20 of users that were held out whole, by the ways to make a vector of a new user's history.

    python experiments/new_users.py ml-100k --min-rating 4

20 % of the users take no part in the training. Of each, the train items are the history and the test items are
to be found, among all items but the history. "trained with them" is a model that saw these histories in training.
"""

from __future__ import annotations

import json

import numpy as np
from held_out import K, arguments, held_out, load, recall, train, without

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.serving.new_users import FoldIn
from hnlmrec.serving.ranking import best_items


def implicit_least_squares(items, histories, weight):
    """Return argmin_u sum_history (1 - u v)² + weight sum_all (u v)² + ridge (Hu, Koren and Volinsky, 2008)."""
    gram = items.T @ items
    ridge = 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    systems = ((weight * gram + items[h].T @ items[h] + ridge, items[h].sum(axis=0)) for h in histories)
    return np.stack([np.linalg.solve(*system) for system in systems])


def main() -> None:
    given = arguments(__doc__)
    data = load(given).dataset
    out = held_out(data.n_users, 0.2, given.seed)
    splits = [without(part, out[part.users]) for part in (data.train, data.valid)]
    known = InteractionDataset(data.users, data.items, *splits, data.test)
    vectors = train(known, given)
    items, users = vectors.items.numpy(), vectors.users.numpy()
    new = np.flatnonzero(out & (data.train.degrees > 0) & (data.test.degrees > 0))
    histories = [data.train.of(user).astype(np.int64) for user in new.tolist()]
    sums = data.train.to_scipy()[new]
    degrees = np.maximum(known.train.item_degrees, 1)[:, None]

    def measure(points, catalogue):
        points = np.ascontiguousarray(points, dtype=np.float32)
        return recall(data.test, new, best_items(points, catalogue, K, data.train, new)[0])

    ways = {"mean of item vectors": sums @ items, "propagation rule": sums @ (items / np.sqrt(degrees))}
    ways |= {f"least squares, {w:g}": implicit_least_squares(items, histories, w) for w in (0.01, 0.1, 1.0)}
    ways["mean, mapped (FoldIn)"] = FoldIn.fit(users, items, known.train).vectors(histories)
    figures = {name: measure(points, items) for name, points in ways.items()}
    popularity = np.ascontiguousarray(known.train.item_degrees[:, None], dtype=np.float32)
    figures["popularity"] = measure(np.ones((len(new), 1)), popularity)
    trained = train(data, given)
    figures["trained with them"] = measure(trained.users.numpy()[new], trained.items.numpy())
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"source": given.source, "model": given.model, "users": len(new), "recall@20": rounded}))


if __name__ == "__main__":
    main()
