"""The settings of the collaborative encoder, and its templates."""

from __future__ import annotations

import re
from typing import Literal, get_args

from pydantic import Field, model_validator

from hnlmrec.config import Config, added
from hnlmrec.finetuning.inputs import Kind

Slot = Literal["user", "item", "user_cf", "item_cf"]
_SLOT = re.compile(r"\{(user_cf|item_cf|user|item)\}")
_NEEDED: dict[Kind, set[str]] = {"hard_negative": {"user", "item"}, "preference": {"user"}, "item": {"item"}}
SLOTS: tuple[Slot, ...] = get_args(Slot)


class EncoderTemplates(Config):
    """What the model reads. `{user}` and `{item}` are texts, `{user_cf}` and `{item_cf}` the CF vectors.

    Texts hold neither `<` nor `>`, so these delimit them.
    """

    hard_negative: str = (
        "User {user_cf} <{user}> chose {item_cf} <{item}>. A similar item that this user would not choose:"
    )
    """Query of a (user, item) pair, for its hard negative."""
    preference: str = "User {user_cf} <{user}>. An item that this user would choose:"
    """Query of a user, for what the user would choose."""
    item: str = "Item {item_cf} <{item}>:"
    """An item as a document."""

    @model_validator(mode="after")
    def _slots_fit(self) -> EncoderTemplates:
        for kind, needed in _NEEDED.items():
            found = set(_SLOT.findall(self.of(kind)))
            allowed = needed | {f"{name}_cf" for name in needed}
            if not needed <= found <= allowed:
                raise ValueError(
                    f"the template {kind} must hold {', '.join(sorted(needed))} in braces and may hold "
                    f"{', '.join(sorted(allowed - needed))}; it holds {', '.join(sorted(found)) or 'none'}"
                )
        return self

    def of(self, kind: Kind) -> str:
        """Return the template of a kind."""
        templates: dict[Kind, str] = {
            "hard_negative": self.hard_negative,
            "preference": self.preference,
            "item": self.item,
        }
        return templates[kind]

    def pieces(self, kind: Kind) -> list[str]:
        """Return the template cut at its slots: fixed text at even places, names of slots at odd ones."""
        return _SLOT.split(self.of(kind))


class EncoderSettings(Config):
    """Base model, adapter, CF signal, pooling and head of a `CollaborativeEncoder`."""

    base_model: str = "smollm2-135m-instruct"
    """An asset's name, a folder, a GGUF file, or a Hugging Face name of a causal language model."""
    n_layers: int | None = Field(None, ge=1)
    """Keep the first n transformer layers only: a smaller model for a CPU. Null keeps all."""
    lora_rank: int = Field(32, ge=1)
    """Rank of the low-rank updates (LoRA; Hu et al., 2022)."""
    lora_alpha: int = Field(64, ge=1)
    """The updates are scaled by lora_alpha / lora_rank."""
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    """Dropout before the updates, while training."""
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Linear layers that get an update."""
    cf_signal: Literal["soft", "text", "none"] = "soft"
    """How CF vectors enter: through a trained projection as soft tokens, as numbers in the text, or not at all."""
    n_soft_tokens: int = Field(1, ge=1)
    """Soft tokens of each vector."""
    n_numbers: int = Field(16, ge=1)
    """With cf_signal = "text": how many leading components are written, in tenths of a standard deviation."""
    pooling: Literal["last", "mean"] = "last"
    """One vector of the last layer: that of the last token, or the mean over the tokens."""
    head: Literal["linear", "mlp"] = "mlp"
    """From the pooled vector to the output; no ReLU at the output, which would make all vectors non-negative."""
    output_size: int | None = Field(None, ge=1)
    """Length of the vectors; null takes that of the CF vectors."""
    residual: bool = False
    """Add a CF vector to the head's output, which begins at nearly zero: the user's to queries, the item's to
    documents. The encoder then starts as the CF model and learns what the texts add to it; without, it has to
    learn the behaviour anew."""
    residual_maps: bool = added(False)
    """With residual: add what linear maps of the prompt's kind make of its CF vectors, too, the user's and, in a
    query of a pair, the chosen item's. They begin at zero. Without them a query for a hard negative cannot turn
    away from the item that was chosen but through the texts."""
    heads: Literal["shared", "per_kind"] = added("shared")
    """One head for all prompts, or one of each kind: for hard negatives, preferences and documents. The two tasks
    ask for opposite answers, and a shared head that learns the one unlearns the other."""
    documents: Literal["encoded", "cf"] = "encoded"
    """What an item is as a document: its text and soft token read by the model, or the CF vector as it is. The
    latter needs no reading of items, and queries then are points of the CF space itself."""
    max_user_tokens: int = Field(48, ge=1)
    """Tokens after which a user's text is cut off. Templates and soft tokens are never cut."""
    max_item_tokens: int = Field(24, ge=1)
    """Tokens after which an item's text is cut off."""
    templates: EncoderTemplates = EncoderTemplates()
    """What the model reads."""

    @model_validator(mode="after")
    def _maps_are_of_a_residual(self) -> EncoderSettings:
        if self.residual_maps and not self.residual:
            raise ValueError(
                "residual_maps changes what residual adds, which is off. Set residual = true, or residual_maps = "
                "false"
            )
        return self

    @model_validator(mode="after")
    def _cf_documents_have_the_cf_size(self) -> EncoderSettings:
        if (self.documents == "cf" or self.residual) and self.output_size is not None:
            raise ValueError(
                'output_size is that of the CF vectors with documents = "cf" and with residual; leave it out'
            )
        return self
