"""Options of the trainer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field

from hnlmrec.config import Config, added, runtime
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ConfigError
from hnlmrec.processes import best_device
from hnlmrec.training.automatic import automatic_batch_size, automatic_share


class TrainingConfig(Config):
    """Fields of the section [training]."""

    learning_rate: float = Field(1e-3, gt=0)
    """Step size of Adam."""

    regularization: float = Field(1e-4, ge=0)
    """Weight of the L2 term on the layer-0 vectors of the batch's users, positives and negative items."""

    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 2048
    """Positives a step; the last step of an epoch may have fewer. `auto`: a thirty-second of the train split, as a
    power of two from 512 to 4096, so that an epoch of little data has enough steps."""

    epochs: int = Field(200, ge=1)
    """Passes over the train split at most."""

    patience: int = Field(10, ge=1)
    """Training stops after this many evaluations in a row without a gain."""

    evaluate_every: int = Field(1, ge=1)
    """Epochs from one evaluation to the next; the last epoch is always evaluated."""

    loss: Literal["bpr", "hinge", "softmax", "bce"] = "bpr"
    """Ranking loss; see the table LOSSES."""

    contrastive_weight: float = Field(1e-3, ge=0)
    """Weight lambda_cl of the contrastive loss against generated hard negatives, where the sampler has them."""

    temperature: float = Field(0.2, gt=0)
    """Temperature tau of that contrastive loss."""

    recognised_share: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = 0.0
    """Share of each batch's positives that are false negatives which a judge has recognised, added to the observed
    ones; 0 needs no judge. `auto`: 6 / (6 + the mean number of train items of a user), at most half."""

    recognised_per_user: int = Field(10, ge=1)
    """How many of the judge's likeliest unobserved items of each user may be drawn as positives."""

    recognised_weighting: Literal["probability", "uniform"] = "uniform"
    """How often each of them is drawn: alike, or in proportion to its probability."""

    recognised_evenness: float = added(0.0, ge=0, le=1)
    """How evenly the items among them are drawn: a pair's weight is divided by this power of the number of users
    that its item is listed for. 0 favours popular items, as the lists do; at 1 each item comes equally often."""

    order_weight: float = added(0.0, ge=0)
    """Weight of the loss that teaches the order of a judge: of two unobserved items of a user that it lists, which
    is preferred, and how surely; 0 needs no judge."""

    order_per_user: int = added(100, ge=2)
    """How many of the judge's likeliest unobserved items of each user are compared."""

    select_on: Literal["valid", "test"] = "valid"
    """Split on which the best epoch is chosen and training is stopped. "test" repeats the protocol of some
    publications; figures on the test split are then optimistic, and results say so."""

    select_by: str = "recall@20"
    """Metric by which the best epoch is chosen; larger is better."""

    drawn_per_epoch: int = Field(50_000, ge=0)
    """Drawn negatives that are kept of each of the epochs 1, 2, 5, 10, 20, 50, …, for the audit."""

    mixed_precision: bool = False
    """Compute the losses in bfloat16 where that is safe; CUDA devices only."""

    device: str = runtime("auto")
    """"auto" (CUDA where there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps"."""

    checkpoint_every: int = runtime(10, ge=0)
    """Epochs from one checkpoint to the next; 0 for none. A run that was killed goes on from the last one."""

    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = runtime(())
    """What follows the training from outside, besides metrics.jsonl; needs the extra [tracking]."""

    @property
    def needs_judge(self) -> bool:
        """Whether the training learns from a judge's table."""
        return bool(self.recognised_share or self.order_weight)

    def resolved(self, train: Interactions) -> Self:
        """Return these settings with a number for each that is `auto`, for a training on that split."""
        rules = {"batch_size": automatic_batch_size, "recognised_share": automatic_share}
        return self.model_copy(
            update={name: rule(train) for name, rule in rules.items() if getattr(self, name) == "auto"}
        )


def resolve_device(name: str) -> torch.device:
    """Return the device of that name, for "auto" the best that is there.

    Raises:
        ConfigError: torch does not know the name, or the machine lacks the device.
    """
    if name == "auto":
        return torch.device(best_device())
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"training.device {name!r} cannot be used on this machine: {reason} "
            "Choose 'auto', 'cpu', 'cuda' (with a number: 'cuda:1') or 'mps'."
        ) from None
    return device
