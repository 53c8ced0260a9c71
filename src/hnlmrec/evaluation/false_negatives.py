"""The FHNS rate: how often a sampler draws what the user would have liked (a false hard negative)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlmrec.data.interactions import InteractionDataset, Numbers


def fhns_rate(
    users: npt.ArrayLike,
    items: npt.ArrayLike,
    dataset: InteractionDataset,
    *,
    generated: npt.ArrayLike | None = None,
    shares: npt.ArrayLike | None = None,
) -> dict[str, float | int | None]:
    """Return the share of the drawn pairs that are held-out positives, beside that of uniform sampling.

    A low rate alone proves nothing (easy negatives are seldom false): read it beside accuracy.

    Args:
        users: int [n], user numbers.
        items: int [n], the negatives drawn for them; -1 (a vector that stands for no item) is left out.
        dataset: its valid and test splits together are the held-out positives.
        generated: int [n], the item that a vector which was mixed into the negative stands for; -1 for none.
        shares: float [n], that vector's part in the negative: a mixed negative is as false as its parts are.

    Returns:
        "drawn": the share of the pairs (u, j) with j in the held-out positives of u.
        "uniform": what uniform sampling over the items outside train(u) would reach for the same users, exactly:
        the mean of |held out(u)| / (n_items - |train(u)|).
        "ratio": drawn / uniform, None where uniform is 0.
        "pairs": number of pairs that were counted. All but "pairs" are None where it is 0.
    """
    user_numbers, item_numbers = np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int64)
    made = np.full_like(item_numbers, -1) if generated is None else np.asarray(generated, dtype=np.int64)
    parts = np.zeros(len(made)) if shares is None else np.asarray(shares, dtype=np.float64)
    given = (item_numbers >= 0) | (made >= 0)
    user_numbers = user_numbers[given]
    if not len(user_numbers):
        return {"drawn": None, "uniform": None, "ratio": None, "pairs": 0}
    drawn = float(falseness(user_numbers, item_numbers[given], made[given], parts[given], dataset).mean())
    uniform = float(uniform_rates(dataset)[user_numbers].mean())
    ratio = drawn / uniform if uniform else None
    return {"drawn": drawn, "uniform": uniform, "ratio": ratio, "pairs": len(user_numbers)}


def falseness(
    users: Numbers,
    items: Numbers,
    generated: Numbers,
    shares: npt.NDArray[np.float64],
    dataset: InteractionDataset,
) -> npt.NDArray[np.float64]:
    """Return how much of each negative is a held-out positive of its user, float64 [n] in [0, 1].

    Args:
        users: int64 [n].
        items: int64 [n], what was drawn, or what a vector was mixed with; -1 for none.
        generated: int64 [n], what that vector stands for; -1 for none. One of the two is an item.
        shares: float64 [n], its part; all of the negative where there is no item beside it.
        dataset: as for `fhns_rate`.
    """
    parts = np.where(items < 0, 1.0, np.where(generated < 0, 0.0, shares))
    result: npt.NDArray[np.float64] = np.where(held_out(dataset, users, generated), parts, 0.0) + np.where(
        held_out(dataset, users, items), 1 - parts, 0.0
    )
    return result


def uniform_rates(dataset: InteractionDataset) -> npt.NDArray[np.float64]:
    """Return each user's chance that an item drawn uniformly outside train is a held-out positive, [n_users]."""
    held_out_items = dataset.valid.degrees + dataset.test.degrees  # splits are disjoint
    return np.asarray(held_out_items / np.maximum(dataset.n_items - dataset.train.degrees, 1))


def held_out(dataset: InteractionDataset, users: Numbers, items: Numbers) -> npt.NDArray[np.bool_]:
    """Return which pairs are in the validation or test split, bool [n]; an item number of -1 is in none."""
    found: npt.NDArray[np.bool_] = np.zeros(len(items), dtype=np.bool_)
    given = items >= 0
    pairs = users[given], items[given]
    found[given] = dataset.valid.contains(*pairs) | dataset.test.contains(*pairs)
    return found
