"""The losses of one batch of the fine-tuning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hnlmrec.errors import ConfigError
from hnlmrec.finetuning.batches import ContrastiveBatch
from hnlmrec.finetuning.config import FinetuningConfig
from hnlmrec.finetuning.encoder import CollaborativeEncoder
from hnlmrec.finetuning.inputs import EncoderInputs, item_prompt
from hnlmrec.finetuning.losses import LOSSES, anchor, cosines
from hnlmrec.finetuning.sharing import Sharing
from hnlmrec.processes import Processes

Forward = Callable[..., tuple[Tensor, ...]]
ALONE = Sharing(Processes())


def compute_losses(
    encoder: CollaborativeEncoder,
    forward: Forward,
    batch: ContrastiveBatch,
    inputs: EncoderInputs,
    config: FinetuningConfig,
    *,
    sharing: Sharing = ALONE,
) -> dict[str, Tensor]:
    """Return `loss`, which training descends on, and its parts that the batch has.

    Args:
        encoder: reads the prompts.
        forward: the encoder, or what a distributed run has wrapped it in.
        batch: queries, documents, and who is whose negative.
        inputs: texts and CF vectors.
        config: see `FinetuningConfig`.
        sharing: which prompts this process reads; the losses are those of the whole batch in any case.

    Returns:
        scalars: `loss`; the means `hard_negative` and `preference` over the queries of each task; `anchor`.
    """
    device = encoder.device
    read = [encoder.reader(sharing.own(batch.queries), inputs).to(device)]
    vectors = torch.from_numpy(inputs.items[batch.items]).float().to(device) / encoder.cf.item_scale  # [M, d]
    if encoder.settings.documents == "encoded":
        read.append(encoder.reader(sharing.own([item_prompt(item) for item in batch.items]), inputs).to(device))
    lengths = (len(batch.queries), len(batch.items))
    made = tuple(sharing.join(part, n) for part, n in zip(forward(*read), lengths, strict=False))
    queries, documents = (*made, vectors)[:2]  # [B, size], [M, size]
    terms = LOSSES[config.loss](
        cosines(queries, documents),
        torch.from_numpy(batch.targets).to(device),
        torch.from_numpy(batch.weights).to(device),
        config.temperature,
    )
    losses = {"loss": terms.mean()}
    is_preference = torch.from_numpy(batch.is_preference).to(device)
    for name, task in (("hard_negative", ~is_preference), ("preference", is_preference)):
        if task.any():
            losses[name] = terms[task].mean()
    if uses_anchor(encoder, config):
        losses["anchor"] = anchor(documents, vectors)
        losses["loss"] = losses["loss"] + config.anchor_weight * losses["anchor"]
    return losses


def uses_anchor(encoder: CollaborativeEncoder, config: FinetuningConfig) -> bool:
    """Whether encoded items are tied to their CF vectors.

    Raises:
        ConfigError: the two have different lengths.
    """
    if encoder.settings.documents == "cf" or not config.anchor_weight:
        return False
    if encoder.size != encoder.cf.size:
        raise ConfigError(
            f"anchor_weight = {config.anchor_weight} compares outputs of length {encoder.size} with CF vectors of "
            f"length {encoder.cf.size}. Leave output_size out, or set anchor_weight to 0."
        )
    return True
