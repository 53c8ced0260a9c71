"""What `auto` comes to: settings of a training that follow from its train split."""

from __future__ import annotations

import math

import numpy as np

from hnlmrec.data.interactions import Interactions

_STEPS = 32  # an epoch, about
_BATCHES = (512, 4096)
_WORTH = 6.0  # items of each user that the recognised ones count as beside the observed ones
_MOST = 0.5


def automatic_batch_size(train: Interactions) -> int:
    """Return the positives of a step: a thirty-second of the pairs, as a power of two from 512 to 4096."""
    nearest = 2 ** round(math.log2(max(len(train), 1) / _STEPS))
    return int(min(max(nearest, _BATCHES[0]), _BATCHES[1]))


def automatic_share(train: Interactions) -> float:
    """Return the share of a batch's positives that are to be recognised ones, in [0, 0.5].

    min(0.5, 6 / (6 + n)), with n the mean number of train items of a user: as if each had six items more. Where
    users have few, little is observed, and a judge's word counts for much. Our own rule, from the shares that were
    best on validation of six data sets (docs/false-negatives.md), so a search may well find better.
    """
    mean = len(train) / max(int(np.count_nonzero(train.degrees)), 1)
    return round(min(_WORTH / (_WORTH + mean), _MOST), 3)
