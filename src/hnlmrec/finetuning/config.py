"""Options of the fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hnlmrec.config import Config, added, runtime


class FinetuningConfig(Config):
    """How the encoder learns."""

    loss: Literal["pairwise_logistic", "info_nce"] = "pairwise_logistic"
    """Pairwise logistic, as in the authors' code, or InfoNCE."""
    temperature: float = Field(0.05, gt=0)
    """Cosines are divided by it."""
    preference_share: float = Field(0.0, ge=0, le=1)
    """Part of the triplets that serves the preference task (which items would the user choose?), drawn anew in
    each epoch; the others serve the hard-negative task. 0 is the objective of the paper."""
    own_weight: float = Field(1.0, gt=0)
    """How often the negative of a query's own triplet counts among its negatives, where each of the other items of
    the batch counts once. 1 is the loss of the authors' code, in which the query's own interacted item is one of
    many; more teaches the difference of hard and interacted item sooner."""
    n_random: int = Field(0, ge=0)
    """Random items of each batch that are further negatives of the preference task. With documents = "cf" they
    cost next to nothing."""
    anchor_weight: float = Field(0.1, ge=0)
    """Weight of 1 - cosine between an encoded item and its CF vector, which makes the output a part of the CF
    space; 0 leaves it out. Nothing to do with documents = "cf"."""
    epochs: int = Field(5, ge=1)
    """Passes over the triplets."""
    max_steps: int | None = Field(None, ge=0)
    """Updates after which training ends; null for none but the epochs'. 0 leaves the LLM un-tuned: an ablation."""
    batch_size: int = Field(16, ge=2)
    """Triplets a batch; its items are one another's negatives."""
    gradient_accumulation: int = Field(2, ge=1)
    """Batches an update. Negatives come from one batch, so this is not the same as a larger batch."""
    learning_rate: float = Field(2e-5, gt=0)
    """Step size of AdamW for the LoRA layers."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Step size for what starts anew: soft tokens and head."""
    maps_learning_rate: float | None = added(None, gt=0)
    """Step size for the encoder's `residual_maps`; null takes that of the head. They have few weights and learn
    from few triplets, where a head at the same rate learns the texts of those triplets by heart."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of AdamW."""
    warmup_share: float = Field(0.1, ge=0, le=1)
    """Part of the updates over which the step sizes rise from 0; they then fall to 0 along a cosine."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Longer gradients are scaled down to this."""
    n_evaluated: int = Field(256, ge=1)
    """Held-out triplets measured before and after, drawn once."""
    evaluate_every: int = added(0, ge=0)
    """Updates from one measuring of the held-out triplets to the next. The encoder that did best is kept, be it
    the one before the first update: a few updates can do harm. 0 measures before and after, and keeps the last."""
    gradient_checkpointing: bool = runtime(False)
    """Compute activations again in the backward pass: less memory, more time."""
    shard_base: bool = runtime(False)
    """Split the frozen weights of the base model over the processes (FSDP 2), for a model that does not fit on one
    GPU; slower. A launcher's configuration of the type FSDP does the same."""
    checkpoint_every: int = runtime(50, ge=0)
    """Updates from one checkpoint to the next; 0 for none. A run that was killed goes on from the last one."""
    evaluation_batch_size: int = runtime(32, ge=1)
    """Prompts encoded at once in the evaluation."""
