"""A tiny random language model, and a data set whose hard items follow from the users, for the fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hnlmrec.data.interactions import Interactions
from hnlmrec.finetuning import (
    EncoderInputs,
    EncoderSettings,
    EncoderTemplates,
    FinetuningTexts,
    TextsConfig,
    Triplets,
)
from hnlmrec.finetuning.base_model import seeded

CHARACTERS = [chr(code) for code in range(32, 127)] + ["…", "‹", "›"]
N_USERS, N_ITEMS, SIZE = 8, 12, 6
SHORT = EncoderTemplates(
    hard_negative="{user_cf}<{user}>{item_cf}<{item}>!", preference="{user_cf}<{user}>?", item="{item_cf}<{item}>."
)


def tiny_model(folder: Path, *, n_layers: int = 2, family: str = "Llama") -> Path:
    """Save a random model that reads characters."""
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<s>", *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(folder)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    with seeded(0):
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


def settings(folder: Path, **changes) -> EncoderSettings:
    return EncoderSettings(
        **{"base_model": str(folder), "templates": SHORT, "lora_rank": 4, "lora_alpha": 8, **changes}
    )


def train_split(extra=()) -> Interactions:
    """User u has the items u, u + 1 and u + 2."""
    pairs = [(user, user + k) for user in range(N_USERS) for k in range(3)] + list(extra)
    return Interactions.from_pairs(*zip(*pairs, strict=True), N_USERS, N_ITEMS)


def world(train: Interactions | None = None, **config) -> EncoderInputs:
    """Texts and random CF vectors."""
    rng = np.random.default_rng(0)
    names = [f"Thing {chr(65 + number)}" for number in range(N_ITEMS)]
    profiles = [f"likes {'many ' * (user % 3)}things" if user % 2 else "" for user in range(N_USERS)]
    texts = FinetuningTexts(names, names, profiles, train or train_split(), TextsConfig(**config), 1)
    users, items = (rng.normal(size=(n, SIZE)).astype(np.float32) for n in (N_USERS, N_ITEMS))
    return EncoderInputs(texts, users, items)


def planted_triplets(held_out=()) -> Triplets:
    """The hard item of (u, i) is the third one after i, cyclically."""
    train = train_split()
    users, positives = train.users.astype(np.int32), train.indices.astype(np.int32)
    return Triplets(users, positives, ((positives + 3) % N_ITEMS).astype(np.int32), np.isin(users, held_out))
