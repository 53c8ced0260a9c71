"""The encoder as it was before the fine-tuning: the control of whatever the fine-tuning is said to have done."""

from __future__ import annotations

from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import CollaborativeEncoder
from hnlmrec.finetuning.inputs import EncoderInputs
from hnlmrec.finetuning.trainer import calibrate
from hnlmrec.finetuning.triplets import Triplets


def untuned_encoder(
    tuned: CollaborativeEncoder,
    triplets: Triplets,
    inputs: EncoderInputs,
    config: FinetuningConfig,
    *,
    seed: int,
    device: str = "auto",
    precision: str = "auto",
) -> CollaborativeEncoder:
    """Return an encoder of the same settings whose adapter, soft tokens and head are at their initial values.

    Its standardisation is measured as `finetune` does it before the first update, so with the seed of the
    fine-tuning it is the very encoder that the fine-tuning began with.

    Args:
        tuned: whose settings and CF shape are taken.
        triplets: those of the fine-tuning.
        inputs: likewise.
        config: likewise.
        seed: of the initial values.
        device: where the model is put.
        precision: see `CollaborativeEncoder`.
    """
    encoder = CollaborativeEncoder(tuned.settings, tuned.cf, seed=seed, device=device, precision=precision)
    calibrate(encoder, triplets.part(held_out=False), inputs, config)
    return encoder
