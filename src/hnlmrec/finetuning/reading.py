"""From prompts to token ids with places for soft tokens: the templates, filled in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hnlmrec.finetuning.inputs import KINDS, EncoderInputs, Floats, Prompt
from hnlmrec.finetuning.settings import EncoderSettings


class EncoderBatch(NamedTuple):
    """A padded batch, of tensors only, so that it passes through any wrapper of a module.

    Attributes:
        tokens: int64 [B, T]; 0 at padding and at places of soft tokens.
        mask: int64 [B, T], 1 for tokens, 0 for the padding after them.
        user_vectors: float32 [U, d], CF vectors of the slots of users.
        user_places: int64 [U * n_soft], their places in the flattened batch.
        item_vectors: float32 [I, d], likewise of items.
        item_places: int64 [I * n_soft].
        kinds: int64 [B], the place of each prompt's kind in KINDS.
        own: float32 [B, d], the CF vector of each prompt's user, of an item's own for a document, in standard
            deviations.
        chosen: float32 [B, d], likewise of the item of a pair; zeros where a prompt is of no pair.
    """

    tokens: Tensor
    mask: Tensor
    user_vectors: Tensor
    user_places: Tensor
    item_vectors: Tensor
    item_places: Tensor
    kinds: Tensor
    own: Tensor
    chosen: Tensor

    def to(self, device: torch.device | str) -> EncoderBatch:
        """Return the batch on a device."""
        return EncoderBatch(*(tensor.to(device) for tensor in self))


class _Vector(NamedTuple):
    """A place for a soft token of this user or item."""

    kind: str
    number: int


class PromptReader:
    """Tokenizes prompts by the templates.

    Pieces of a template, texts and numbers are tokenized one by one; only texts are cut, each to its own limit, so
    neither an instruction nor a soft token can be lost.

    Args:
        tokenizer: of the base model.
        settings: see `EncoderSettings`.
        scales: standard deviations of the entries of the users' and the items' CF vectors.
    """

    def __init__(self, tokenizer: Any, settings: EncoderSettings, scales: tuple[float, float]) -> None:
        self._tokenizer, self.settings, self.scales = tokenizer, settings, scales
        self._prefix = _begin_of_text(tokenizer)

    def __call__(self, prompts: Sequence[Prompt], inputs: EncoderInputs) -> EncoderBatch:
        """Return the padded batch of these prompts; padding stands on the right."""
        parts = [self._parts(prompt, inputs) for prompt in prompts]
        tokens = self._tokenize(text for row in parts for text, _ in row if isinstance(text, str))
        n_soft = self.settings.n_soft_tokens
        rows: list[list[int]] = []
        slots: list[tuple[int, int, _Vector]] = []  # row, column, what
        for number, row in enumerate(parts):
            ids = list(self._prefix)
            for part, limit in row:
                if isinstance(part, _Vector):
                    slots.append((number, len(ids), part))
                    ids += [0] * n_soft
                else:
                    ids += tokens[part][:limit]
            rows.append(ids)
        kinds = torch.tensor([KINDS.index(prompt.kind) for prompt in prompts])
        vectors = self._own(prompts, inputs), self._chosen(prompts, inputs)
        return self._batch(rows, slots, inputs, (kinds, *vectors))

    def lengths(self, prompts: Sequence[Prompt], inputs: EncoderInputs) -> list[int]:
        """Return about how long each prompt is, in characters: enough to put prompts of like length together."""
        longest_user, longest_item = 5 * self.settings.max_user_tokens, 5 * self.settings.max_item_tokens
        return [
            (min(len(inputs.texts.user(p.user, p.hidden)), longest_user) if p.user >= 0 else 0)
            + (min(len(inputs.texts.items[p.item]), longest_item) if p.item >= 0 else 0)
            for p in prompts
        ]

    def text(self, prompt: Prompt, inputs: EncoderInputs) -> str:
        """Return what the model reads, for people: soft tokens are shown as [user 3] and [item 5]."""
        parts = self._parts(prompt, inputs)
        return "".join(f"[{part.kind} {part.number}]" if isinstance(part, _Vector) else part for part, _ in parts)

    def _parts(self, prompt: Prompt, inputs: EncoderInputs) -> list[tuple[str | _Vector, int | None]]:
        """Return what a prompt is made of, each with the number of tokens after which it is cut (None: never)."""
        parts: list[tuple[str | _Vector, int | None]] = []
        for place, piece in enumerate(self.settings.templates.pieces(prompt.kind)):
            if place % 2 == 0:
                parts.append((piece, None))
            elif piece == "user":
                parts.append((inputs.texts.user(prompt.user, prompt.hidden), self.settings.max_user_tokens))
            elif piece == "item":
                parts.append((inputs.texts.items[prompt.item], self.settings.max_item_tokens))
            elif self.settings.cf_signal == "soft":
                kind = piece.removesuffix("_cf")
                parts.append((_Vector(kind, prompt.user if kind == "user" else prompt.item), None))
            elif self.settings.cf_signal == "text":
                parts.append((self._numbers(piece, prompt, inputs), None))
        return [(part, limit) for part, limit in parts if part != ""]

    def _own(self, prompts: Sequence[Prompt], inputs: EncoderInputs) -> Tensor:
        of_user, of_item = self.scales
        rows = [inputs.users[p.user] / of_user if p.user >= 0 else inputs.items[p.item] / of_item for p in prompts]
        return torch.from_numpy(np.asarray(rows, dtype=np.float32))

    def _chosen(self, prompts: Sequence[Prompt], inputs: EncoderInputs) -> Tensor:
        vectors = np.zeros((len(prompts), inputs.size), dtype=np.float32)
        of_pair = [place for place, p in enumerate(prompts) if p.user >= 0 and p.item >= 0]
        vectors[of_pair] = inputs.items[[prompts[place].item for place in of_pair]] / self.scales[1]
        return torch.from_numpy(vectors)

    def _numbers(self, piece: str, prompt: Prompt, inputs: EncoderInputs) -> str:
        vector = inputs.users[prompt.user] if piece == "user_cf" else inputs.items[prompt.item]
        scale = self.scales[0] if piece == "user_cf" else self.scales[1]
        numbers = np.rint(10 * vector[: self.settings.n_numbers] / scale).astype(int)
        return "(" + " ".join(map(str, numbers)) + ")"

    def _tokenize(self, texts: Iterable[str]) -> dict[str, list[int]]:
        distinct = list(dict.fromkeys(texts))
        ids = self._tokenizer(distinct, add_special_tokens=False)["input_ids"] if distinct else []
        return dict(zip(distinct, ids, strict=True))

    def _batch(
        self,
        rows: list[list[int]],
        slots: list[tuple[int, int, _Vector]],
        inputs: EncoderInputs,
        of_prompts: tuple[Tensor, Tensor, Tensor],
    ) -> EncoderBatch:
        width = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        places = {
            kind: [
                row * width + column + k
                for row, column, vector in slots
                if vector.kind == kind
                for k in range(self.settings.n_soft_tokens)
            ]
            for kind in ("user", "item")
        }
        numbers = {kind: [v.number for *_, v in slots if v.kind == kind] for kind in ("user", "item")}
        return EncoderBatch(
            tokens,
            mask,
            _gather(inputs.users, numbers["user"]),
            torch.tensor(places["user"], dtype=torch.int64),
            _gather(inputs.items, numbers["item"]),
            torch.tensor(places["item"], dtype=torch.int64),
            *of_prompts,
        )


def _gather(vectors: Floats, numbers: list[int]) -> Tensor:
    return torch.from_numpy(np.asarray(vectors[np.array(numbers, dtype=np.int64)], dtype=np.float32))


def _begin_of_text(tokenizer: Any) -> list[int]:
    """Return the ids that the tokenizer puts before any text; some models read badly without them."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    return list(full[: full.index(bare[0])])
