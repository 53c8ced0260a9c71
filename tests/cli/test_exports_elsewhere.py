"""Exports in the hands of the libraries that they are for: sentence-transformers, datasets, RecBole."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.conftest import Outcome
from tests.cli.test_out import export, train, train_pairs
from tokenizers import Tokenizer, models, pre_tokenizers

Cli = Callable[..., Outcome]
ROOT = Path(__file__).parents[2]
RECBOLE = Path(os.environ.get("HNLMREC_RECBOLE", ROOT / ".venv-recbole/bin/python"))
"""The Python of an environment with RecBole; `make bench` makes one."""


def word_model(rows: list[dict[str, str]]) -> Any:
    """Return a sentence encoder of one vector for each word."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    words = sorted({word for row in rows for text in row.values() for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    static = modules.StaticEmbedding(tokenizer, embedding_dim=8)
    return sentence_transformers.SentenceTransformer(modules=[static], device="cpu")


@pytest.mark.parametrize("name", ["TripletLoss", "MultipleNegativesRankingLoss"])
def test_a_loss_of_sentence_transformers_falls_on_triplets(cli: Cli, data: Path, name: str) -> None:
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    folder, _ = export(cli, train(cli, data), "sentence-transformers")
    rows = [json.loads(line) for line in (folder / "triplets.jsonl").read_text().splitlines()][:32]
    model = word_model(rows)
    loss = getattr(losses, name)(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    batch = [model.preprocess(list(texts)) for texts in zip(*(row.values() for row in rows), strict=True)]
    values = []
    for _ in range(5):
        optimiser.zero_grad()
        value = loss(batch, torch.empty(0))
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert 0 < values[-1] < values[0]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_datasets_reads_triplets_and_their_trainer_learns_from_them(cli: Cli, data: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    run = train(cli, data)
    folder, counts = export(cli, run, "sentence-transformers")
    read = datasets.load_dataset(
        "json", data_files=str(folder / "triplets.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read.column_names == ["anchor", "positive", "negative"]
    assert len(read) == counts["rows"] == len(train_pairs(run))
    model = word_model(read.to_list())
    before = model[0].embedding.weight.detach().clone()
    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=16, report_to="none", use_cpu=True
    )
    trainer = SentenceTransformerTrainer(model, arguments, read, loss=MultipleNegativesRankingLoss(model))
    assert trainer.train().training_loss > 0
    assert not torch.equal(model[0].embedding.weight, before)


@pytest.mark.parity
@pytest.mark.skipif(not RECBOLE.exists(), reason="no RecBole: `make bench`, or HNLMREC_RECBOLE=its Python")
def test_recbole_holds_the_rows_of_every_split_and_trains_on_them(cli: Cli, data: Path) -> None:
    folder, counts = export(cli, train(cli, data, "dns", "name=films"), "recbole")
    command = [str(RECBOLE), str(ROOT / "benchmarks/recbole/read_export.py"), str(folder), "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rows"] == {split: counts[split] for split in ("train", "valid", "test")}
    first, second = result["losses"]
    assert 0 < second < first
    assert 0 <= result["metrics"]["recall@5"] <= 1
