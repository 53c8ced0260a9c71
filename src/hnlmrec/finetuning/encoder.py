"""The collaborative encoder: a language model that reads texts and CF vectors, and answers with one vector.

HNLMRec's variant of semantic negative sampling (arXiv 2504.04726, module 2): a LoRA-tuned causal language model
whose pooled hidden state is the hard negative of a (user, item) pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hnlmrec.artifacts import write_json
from hnlmrec.config import build, fingerprint_fields
from hnlmrec.data.tables import read_json
from hnlmrec.encoders.base import Advance, digest
from hnlmrec.encoders.causal_lm import pool
from hnlmrec.errors import CorruptArtifactError, DataError, MissingFileError
from hnlmrec.finetuning.base_model import BaseModel, choose_precision, seeded
from hnlmrec.finetuning.inputs import KINDS, EncoderInputs, Floats, Prompt
from hnlmrec.finetuning.layers import (
    Heads,
    ResidualMaps,
    SoftTokens,
    Standardisation,
    begin_at_nearly_zero,
    make_head,
)
from hnlmrec.finetuning.reading import EncoderBatch, PromptReader
from hnlmrec.finetuning.settings import EncoderSettings
from hnlmrec.processes import best_device

FACTS_FILE, WEIGHTS_FILE = "encoder.json", "encoder.safetensors"
"""What a folder of `CollaborativeEncoder.save` holds."""


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what the encoder.json of a saved encoder says.

    Raises:
        MissingFileError: there is none.
        CorruptArtifactError: it is damaged.
    """
    path = folder / FACTS_FILE
    try:
        facts = read_json(path)
        _ = facts["settings"], facts["base_digest"], CFShape(**facts["cf"])
    except (DataError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{path} is damaged ({error}). Fine-tune again.") from None
    return facts


class CFShape(NamedTuple):
    """What the encoder knows of the CF vectors: their length, and the standard deviations of their entries."""

    size: int
    user_scale: float
    item_scale: float

    @classmethod
    def of(cls, inputs: EncoderInputs) -> CFShape:
        """Measure the vectors that the encoder will be trained with.

        Raises:
            DataError: they hold values that are not finite, or nothing but zeros.
        """
        scales = [float(vectors.std()) for vectors in (inputs.users, inputs.items)]
        if not all(np.isfinite(scale) and scale > 0 for scale in scales):
            raise DataError("the CF vectors of users or items are all equal, or not all finite. Pre-train again.")
        return cls(inputs.size, *scales)


class CollaborativeEncoder(nn.Module):
    """A causal language model with LoRA, soft tokens for CF vectors, pooling and a head into the CF space.

    Templates, limits of length, pooling and weights are parts of this one object, and are saved and loaded
    together, so that training and use cannot differ in them.

    Args:
        settings: see `EncoderSettings`.
        cf: what is known of the CF vectors.
        seed: for the initial values of the new layers.
        device: where the model is put.
        precision: "float32", "bfloat16", or "auto" (bfloat16 on a CUDA device that has it).

    Raises:
        ConfigError: the settings do not fit the base model.
        MissingDependencyError: the extra [finetune] is not installed.
        MissingFileError: there is no such base model.
    """

    def __init__(
        self,
        settings: EncoderSettings,
        cf: CFShape,
        *,
        seed: int,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        super().__init__()
        target = torch.device(best_device() if device == "auto" else device)
        self.settings, self.cf = settings, cf
        self.precision = choose_precision(precision, target)
        base = BaseModel(settings.base_model)
        self.base_digest = base.digest()
        with seeded(seed):
            model: Any = base.model(settings, self.precision)
            hidden_size = int(model.config.hidden_size)
            self.language_model = model
            self.user_tokens, self.item_tokens = self._soft_tokens(hidden_size)
            self.head = self._head(hidden_size)
        self.residual_maps = ResidualMaps(len(KINDS), self.size) if settings.residual_maps else None
        self.standardisation = Standardisation(len(KINDS), hidden_size)
        self.uses_all_parameters = False  # true: each has a gradient in every batch, if of zeros
        self.reader = PromptReader(base.tokenizer(), settings, (cf.user_scale, cf.item_scale))
        self.to(target).eval()

    def _soft_tokens(self, hidden_size: int) -> tuple[SoftTokens | None, SoftTokens | None]:
        if self.settings.cf_signal != "soft":
            return None, None
        scale = float(self.language_model.get_input_embeddings().weight.float().square().mean().sqrt())
        user, item = (
            SoftTokens(self.cf.size, hidden_size, self.settings.n_soft_tokens, cf_scale, scale)
            for cf_scale in (self.cf.user_scale, self.cf.item_scale)
        )
        return user, item

    def _head(self, hidden_size: int) -> nn.Module:
        settings = self.settings
        if settings.heads == "per_kind":
            head: nn.Module = Heads(len(KINDS), settings.head, hidden_size, self.size)
        else:
            head = make_head(settings.head, hidden_size, self.size)
        if settings.residual:
            for one in head if isinstance(head, Heads) else [head]:
                begin_at_nearly_zero(one)
        return head

    @property
    def size(self) -> int:
        """Length of an output vector."""
        return self.settings.output_size or self.cf.size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.head.parameters()).device

    def forward(self, *batches: EncoderBatch) -> tuple[Tensor, ...]:
        """Return the vectors of each batch, float32 [B, size].

        Several batches go through one call, because a distributed wrapper wants one call for each backward pass.
        """
        with self._precise():
            return tuple(self._answer(batch) for batch in batches)

    def _answer(self, batch: EncoderBatch) -> Tensor:
        pooled = self.standardisation(self.pooled(batch), batch.kinds)
        heads = (pooled, batch.kinds) if isinstance(self.head, Heads) else (pooled,)
        answer: Tensor = self.head(*heads).float()
        if self.settings.residual:
            answer = answer + batch.own
        if self.residual_maps is not None:
            answer = answer + self.residual_maps(batch.own, batch.chosen, batch.kinds).float()
        return answer

    def pooled(self, batch: EncoderBatch) -> Tensor:
        """Return the model's state of each prompt, float32 [B, h], before standardisation and head."""
        embedded = self.language_model.get_input_embeddings()(batch.tokens)  # [B, T, h]
        flat = embedded.flatten(0, 1)
        for tokens, vectors, places in (
            (self.user_tokens, batch.user_vectors, batch.user_places),
            (self.item_tokens, batch.item_vectors, batch.item_places),
        ):
            if tokens is not None and (len(places) or self.uses_all_parameters):
                flat = flat.index_copy(0, places, tokens(vectors).to(flat.dtype))
        hidden = self.language_model(
            inputs_embeds=flat.view_as(embedded), attention_mask=batch.mask, use_cache=False
        ).last_hidden_state
        return pool(hidden.float(), batch.mask, self.settings.pooling)  # [B, h]

    def calibrate(self, prompts: Sequence[Prompt], inputs: EncoderInputs, *, batch_size: int = 32) -> None:
        """Measure what `Standardisation` takes away, on some prompts of every kind that will be used.

        A kind with fewer than two prompts is left as it is.
        """
        with torch.no_grad(), self._precise():
            for number, kind in enumerate(KINDS):
                here = [p for p in prompts if p.kind == kind and not self.is_cf_document(p)]
                parts = [here[start : start + batch_size] for start in range(0, len(here), batch_size)]
                if len(here) > 1:
                    pooled = [self.pooled(self.reader(part, inputs).to(self.device)) for part in parts]
                    self.standardisation.fit(torch.cat(pooled), number)

    def _precise(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16)

    def encode(
        self,
        prompts: Sequence[Prompt],
        inputs: EncoderInputs,
        *,
        batch_size: int = 32,
        progress: Advance | None = None,
    ) -> Floats:
        """Return float32 [len(prompts), size], without dropout; a row depends on its own prompt alone.

        Args:
            prompts: what to encode; prompts of like length are put together, so that little is padded.
            inputs: texts and CF vectors.
            batch_size: prompts at once; a matter of speed and memory only.
            progress: told (done, total) prompts.

        Raises:
            DataError: the CF vectors have another length than those it was made for.
        """
        self.check(inputs)
        vectors = np.zeros((len(prompts), self.size), dtype=np.float32)
        read = [place for place, prompt in enumerate(prompts) if not self.is_cf_document(prompt)]
        for place in set(range(len(prompts))) - set(read):
            vectors[place] = inputs.items[prompts[place].item] / self.cf.item_scale
        lengths = self.reader.lengths([prompts[place] for place in read], inputs)
        ordered = [read[place] for place in np.argsort(np.negative(lengths), kind="stable")]
        was_training = self.training
        self.eval()
        with torch.no_grad():  # not inference mode: weights that FSDP gathers in it cannot be trained with
            for start in range(0, len(ordered), batch_size):
                here = ordered[start : start + batch_size]
                batch = self.reader([prompts[place] for place in here], inputs).to(self.device)
                vectors[here] = self(batch)[0].cpu().numpy()
                if progress is not None:
                    progress(len(prompts) - len(ordered) + start + len(here), len(prompts))
        self.train(was_training)
        return vectors

    def is_cf_document(self, prompt: Prompt) -> bool:
        """Whether a prompt is an item that is not read: its CF vector is the document."""
        return prompt.kind == "item" and self.settings.documents == "cf"

    def check(self, inputs: EncoderInputs) -> None:
        """Raise DataError where the CF vectors have another length than those the encoder was made for."""
        if inputs.size != self.cf.size:
            raise DataError(
                f"the encoder reads CF vectors of length {self.cf.size}, those given have length {inputs.size}. "
                "Use the vectors of the CF model that it was fine-tuned with."
            )

    def trainable(self) -> dict[str, Tensor]:
        """Return the parameters that fine-tuning changes, by name: LoRA, soft tokens, heads, maps."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """Return all that a saved encoder needs beside the base model: trained parameters, and standardisation."""
        measured = {f"standardisation.{name}": value for name, value in self.standardisation.named_buffers()}
        return {**self.trainable(), **measured}

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with all that changes a vector: base model, settings, trained weights."""
        weights = hashlib.sha256()
        for name, value in sorted(self.state().items()):
            weights.update(name.encode() + value.detach().cpu().float().contiguous().numpy().tobytes())
        fields = fingerprint_fields(self.settings)
        del fields["base_model"]  # the name may change where the files do not
        precision = str(self.precision)
        return digest("collaborative", self.base_digest, fields, list(self.cf), precision, weights.hexdigest())

    def save(self, folder: Path) -> None:
        """Write encoder.json and encoder.safetensors. The base model is named, not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state().items()}
        save_file(tensors, folder / WEIGHTS_FILE)
        facts = {
            "settings": self.settings.model_dump(mode="json"),
            "cf": self.cf._asdict(),
            "base_digest": self.base_digest,
            "fingerprint": self.fingerprint,
        }
        write_json(folder / FACTS_FILE, facts)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", precision: str = "auto") -> CollaborativeEncoder:
        """Read what `save` wrote.

        Raises:
            MissingFileError: the folder holds no encoder, or the base model is not there.
            CorruptArtifactError: the files are damaged, the base model is not the one it was fine-tuned from, or
                the weights do not fit.
        """
        try:
            facts = read_facts(folder)
            tensors = load_file(folder / WEIGHTS_FILE)
        except SafetensorError as error:
            raise CorruptArtifactError(f"{folder / WEIGHTS_FILE} is damaged ({error}). Fine-tune again.") from None
        except FileNotFoundError:
            raise MissingFileError(
                f"{folder} holds no encoder: expected {FACTS_FILE} and {WEIGHTS_FILE}."
            ) from None
        settings = build(EncoderSettings, facts["settings"], where=str(folder / FACTS_FILE))
        encoder = cls(settings, CFShape(**facts["cf"]), seed=0, device=device, precision=precision)
        if encoder.base_digest != facts["base_digest"]:
            raise CorruptArtifactError(
                f"the base model {settings.base_model!r} is not the one that the encoder in {folder} was "
                "fine-tuned from: its files differ. Put the former files back, or fine-tune again."
            )
        encoder.load_state(tensors, str(folder / WEIGHTS_FILE))
        return encoder

    def load_state(self, tensors: dict[str, Tensor], where: str) -> None:
        """Put back what `state` gave.

        Raises:
            CorruptArtifactError: names or shapes differ.
        """
        own = self.state()
        # The soft tokens' factor was a scalar, which DeepSpeed cannot spread; encoders saved then still load.
        tensors = {name: value.reshape(1) if value.ndim == 0 else value for name, value in tensors.items()}
        if {name: value.shape for name, value in own.items()} != {n: v.shape for n, v in tensors.items()}:
            raise CorruptArtifactError(f"the weights in {where} do not fit the encoder's settings.")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensors[name])
