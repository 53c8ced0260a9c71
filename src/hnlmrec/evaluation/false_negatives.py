"""The FHNS rate: how often a sampler draws what the user would have liked (a false hard negative)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import InteractionDataset


def fhns_rate(
    users: npt.ArrayLike, items: npt.ArrayLike, dataset: InteractionDataset
) -> dict[str, float | int | None]:
    """Return the share of the drawn pairs that are held-out positives, beside that of uniform sampling.

    A low rate alone proves nothing (easy negatives are seldom false): read it beside accuracy.

    Args:
        users: int [n], user numbers.
        items: int [n], the negatives drawn for them; -1 (a vector that stands for no item) is left out.
        dataset: its valid and test splits together are the held-out positives.

    Returns:
        "drawn": the share of the pairs (u, j) with j in the held-out positives of u.
        "uniform": what uniform sampling over the items outside train(u) would reach for the same users, exactly:
        the mean of |held out(u)| / (n_items - |train(u)|).
        "ratio": drawn / uniform, None where uniform is 0.
        "pairs": number of pairs that were counted. All but "pairs" are None where it is 0.
    """
    user_numbers, item_numbers = np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int64)
    given = item_numbers >= 0
    user_numbers, item_numbers = user_numbers[given], item_numbers[given]
    if not len(user_numbers):
        return {"drawn": None, "uniform": None, "ratio": None, "pairs": 0}
    valid, test, train = dataset.valid, dataset.test, dataset.train
    drawn = float((valid.contains(user_numbers, item_numbers) | test.contains(user_numbers, item_numbers)).mean())
    expected = (valid.degrees + test.degrees) / np.maximum(
        dataset.n_items - train.degrees, 1
    )  # splits are disjoint
    uniform = float(expected[user_numbers].mean())
    ratio = drawn / uniform if uniform else None
    return {"drawn": drawn, "uniform": uniform, "ratio": ratio, "pairs": len(user_numbers)}
