"""The training loop: resume, early stopping, files, and what it says when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.planted import checkerboard, separation
from torch import Tensor

from hnlmrec.checkpoint import CHECKPOINT
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions
from hnlmrec.errors import ConfigError, CorruptArtifactError, TrainingDivergedError
from hnlmrec.models.base import Embeddings
from hnlmrec.models.mf import MF
from hnlmrec.models.xsimgcl import XSimGCL
from hnlmrec.negative_sampling.base import Negatives
from hnlmrec.negative_sampling.uniform import UniformSampler
from hnlmrec.rng import RandomStreams
from hnlmrec.training import EpochReport, Trainer, TrainingConfig, resolve_device
from hnlmrec.training import result as training_result

DATASET = checkerboard()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads have nothing to do on tensors this small, and wait for one another where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class InterruptionError(Exception):
    """Stands for a kill between two epochs."""


class RememberingSampler(UniformSampler):
    """Keeps a memory, reads the embeddings, gives hard vectors and learns by a loss of its own."""

    uses_embeddings = True

    def __init__(self, dataset: InteractionDataset, config: UniformSampler.Config) -> None:
        super().__init__(dataset, config)
        self.register_buffer("memory", torch.zeros(()))
        self.gate = torch.nn.Parameter(torch.full((8,), 0.5))

    def sample(self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator) -> Negatives:
        self.memory = self.memory + embeddings.items.detach().abs().mean()
        items = super().sample(users, positives, embeddings, rng).items
        assert items is not None
        hard = embeddings.items.detach()[items] * (1 + self.memory / 100)
        return Negatives(items, hard=hard, hard_found=torch.ones_like(items, dtype=torch.bool))

    def auxiliary_loss(
        self, users: Tensor, positives: Tensor, negatives: object, embeddings: Embeddings
    ) -> Tensor:
        return (self.gate - embeddings.items.detach().mean(0)).square().sum()

    def counts(self) -> dict[str, int]:
        return {"memory": int(self.memory)}


def make(
    folder: Path | None = None, *, kill_after: int | None = None, sampler: type = UniformSampler, **options: object
) -> Trainer:
    def progress(report: EpochReport) -> None:
        if report.done == kill_after:
            raise InterruptionError

    values = {"epochs": 9, "batch_size": 100, "learning_rate": 0.02, "device": "cpu", "checkpoint_every": 2}
    config = TrainingConfig(**(values | options))  # type: ignore[arg-type]
    model_config = XSimGCL.Config(embedding_size=8, n_layers=2)
    model = XSimGCL(DATASET, model_config, generator=torch.Generator().manual_seed(1))
    drawer = sampler(DATASET, UniformSampler.Config(n_negatives=2))
    return Trainer(
        model, drawer, config, RandomStreams(5), evaluate=separation(DATASET), folder=folder, progress=progress
    )


def numbers(records: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{k: v for k, v in record.items() if k != "train_seconds"} for record in records]


@pytest.mark.parametrize("sampler", [UniformSampler, RememberingSampler])
@pytest.mark.parametrize("kill_after", [1, 5])
def test_a_resumed_run_gives_the_numbers_of_an_undisturbed_one(
    tmp_path: Path, kill_after: int, sampler: type
) -> None:
    undisturbed = make(sampler=sampler).fit(DATASET)
    with pytest.raises(InterruptionError):
        make(tmp_path, kill_after=kill_after, sampler=sampler).fit(DATASET)
    resumed = make(tmp_path, sampler=sampler).fit(DATASET)
    assert numbers(resumed.records) == numbers(undisturbed.records)
    assert torch.equal(resumed.embeddings.users, undisturbed.embeddings.users)
    assert torch.equal(resumed.embeddings.items, undisturbed.embeddings.items)
    assert resumed.drawn.equals(undisturbed.drawn)
    assert resumed.sampler_counts == undisturbed.sampler_counts
    assert (resumed.best_epoch, resumed.epochs) == (undisturbed.best_epoch, undisturbed.epochs)


@pytest.mark.parametrize(
    ("n_pairs", "size"), [(0, 512), (2_035, 512), (13_457, 512), (43_421, 1024), (122_411, 4096), (10**6, 4096)]
)
def test_a_batch_follows_from_the_data(n_pairs: int, size: int) -> None:
    users = np.zeros(n_pairs, dtype=np.int64)
    train = Interactions.from_pairs(users, np.arange(n_pairs), 1, max(n_pairs, 1))
    assert TrainingConfig(batch_size="auto").resolved(train).batch_size == size
    assert TrainingConfig(batch_size=7).resolved(train).batch_size == 7


def test_an_automatic_batch_trains_as_its_size_does() -> None:
    automatic, named = (make(batch_size=size).fit(DATASET) for size in ("auto", 512))
    assert torch.equal(automatic.embeddings.items, named.embeddings.items)


def test_a_resumed_run_does_not_train_the_finished_epochs_again(tmp_path: Path) -> None:
    with pytest.raises(InterruptionError):
        make(tmp_path, kill_after=5).fit(DATASET)
    trainer, done = make(tmp_path), []
    trainer.progress = lambda report: done.append(report.done)
    trainer.fit(DATASET)
    assert done == [5, 6, 7, 8, 9]  # the checkpoint is of epoch 4
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_run_can_be_prolonged_but_not_changed(tmp_path: Path) -> None:
    with pytest.raises(InterruptionError):
        make(tmp_path, kill_after=4).fit(DATASET)
    with pytest.raises(ConfigError, match=r"differs in: training configuration\. .*folder of its own"):
        make(tmp_path, learning_rate=0.5).fit(DATASET)
    assert make(tmp_path, epochs=11).fit(DATASET).epochs == 11


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(CorruptArtifactError, match=CHECKPOINT):
        make(tmp_path).fit(DATASET)


@pytest.mark.parametrize(
    ("values", "epoch", "first"), [([3, 2, 1], 2, True), ([1, 3, 2], 4, False), ([1], 2, False)]
)
def test_a_training_that_gains_nothing_after_its_first_evaluation_is_known(
    tmp_path: Path, values: list[float], epoch: int, first: bool
) -> None:
    trainer = make(tmp_path, epochs=2 * len(values), evaluate_every=2, select_by="recall@20")
    found = iter(values)
    trainer.evaluate = lambda *_: {"recall@20": float(next(found))}
    result = trainer.fit(DATASET)
    assert (result.best_epoch, result.first_is_best) == (epoch, first)
    assert json.loads((tmp_path / "training.json").read_text())["first_is_best"] is first


def test_every_term_is_optimised_and_recorded() -> None:
    trainer = make(sampler=RememberingSampler, epochs=1)
    gate, users = trainer.sampler.gate.detach().clone(), trainer.model.user_embedding.detach().clone()
    result = trainer.fit(DATASET)
    assert set(result.records[0]["losses"]) == {"ranking", "l2", "contrastive", "model", "sampler"}
    assert result.records[0]["loss"] == pytest.approx(sum(result.records[0]["losses"].values()))
    assert not torch.equal(gate, trainer.sampler.gate)
    assert not torch.equal(users, trainer.model.user_embedding)


def test_files_of_a_run(tmp_path: Path) -> None:
    result = make(tmp_path, drawn_per_epoch=150, epochs=5, evaluate_every=2).fit(DATASET)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [2, 4, 5]
    assert all("valid" in record and "test" not in record for record in records)
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["best_epoch"] == result.best_epoch
    assert summary["select_on"] == "valid"
    assert summary["seconds"]["train_per_epoch"] > 0
    drawn = pl.read_parquet(tmp_path / "drawn.parquet")
    assert drawn["epoch"].value_counts(sort=True).rows() == [(1, 150), (2, 150), (5, 150)]
    assert not DATASET.train.contains(drawn["user"], drawn["negative"]).any()
    assert DATASET.train.contains(drawn["user"], drawn["positive"]).all()
    users = EmbeddingTable.load(tmp_path, "users")
    assert users.ids == DATASET.users
    assert torch.equal(torch.from_numpy(users.vectors.copy()), result.embeddings.users)


def test_the_best_epoch_is_kept_and_training_stops_early() -> None:
    values = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    trainer = make(patience=3)
    seen: list[Embeddings] = []

    def evaluate(embeddings: Embeddings, split: str) -> dict[str, float]:
        assert split == "valid"
        seen.append(Embeddings(embeddings.users.clone(), embeddings.items.clone()))
        return {"recall@20": next(values)}

    trainer.evaluate = evaluate
    result = trainer.fit(DATASET)
    assert (result.best_epoch, result.epochs, result.best_value) == (2, 5, 0.5)
    assert torch.equal(result.embeddings.items, seen[1].items)


def test_selection_on_test_is_said() -> None:
    result = make(select_on="test", epochs=1).fit(DATASET)
    assert result.select_on == "test"
    assert {"valid", "test"} <= set(result.records[0])


def test_divergence_names_the_epoch_and_what_to_try() -> None:
    trainer = make()
    with torch.no_grad():
        trainer.model.user_embedding[0] = torch.nan
    with pytest.raises(TrainingDivergedError, match=r"in epoch 1: .*loss is nan.*training\.learning_rate"):
        trainer.fit(DATASET)


def test_an_empty_split_and_an_unknown_metric_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"recall@3.*Choose one of: recall@20"):
        make(select_by="recall@3").fit(DATASET)
    nothing = Interactions.from_pairs([], [], DATASET.n_users, DATASET.n_items)
    empty = InteractionDataset(DATASET.users, DATASET.items, DATASET.train, nothing, DATASET.test)
    with pytest.raises(ConfigError, match="valid split"):
        make().fit(empty)
    assert make(select_on="test", epochs=1).fit(empty).records[0].keys() >= {"test"}


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.device 'gpu'"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="cannot be used on this machine"):
            resolve_device("cuda")
    with pytest.raises(ConfigError, match="mixed_precision needs a CUDA device"):
        make(mixed_precision=True)


def test_a_vector_negative_without_an_item_is_trained_and_marked() -> None:
    class VectorSampler(UniformSampler):
        def sample(
            self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator
        ) -> Negatives:
            return Negatives(None, vectors=torch.randn(len(users), 2, 8, generator=rng))

    result = make(sampler=VectorSampler, epochs=1, drawn_per_epoch=10).fit(DATASET)
    assert set(result.drawn["negative"]) == {-1}


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_what_a_generated_vector_stands_for_is_kept(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(training_result, "_COSINES", at_once)

    class GeneratedSampler(UniformSampler):
        """Gives one made for an item, one free, one that lies nearest to the user's own positive, and none."""

        uses_embeddings = True

        def sample(
            self, users: Tensor, positives: Tensor, embeddings: Embeddings, rng: torch.Generator
        ) -> Negatives:
            items = super().sample(users, positives, embeddings, rng).items
            assert items is not None
            of_items = torch.cat([items[:, :2], positives[:, None], items[:, 3:]], dim=1)
            hard = embeddings.items.detach()[of_items] * 3
            found = torch.tensor([True, True, True, False]).expand(items.shape)
            made_for = torch.where(torch.tensor([True, False, False, False]), positives[:, None], -1)
            shares = torch.tensor([0.25, 0.5, 0.75, 0.0]).expand(items.shape)
            return Negatives(
                items,
                embeddings.items[items],
                hard=hard,
                hard_found=found,
                hard_items=made_for,
                hard_shares=shares,
            )

    sampler = GeneratedSampler(DATASET, GeneratedSampler.Config(n_negatives=4))
    config = TrainingConfig(epochs=1, batch_size=100, drawn_per_epoch=400, device="cpu")
    model = MF(DATASET, MF.Config(embedding_size=8), generator=torch.Generator().manual_seed(1))
    drawn = Trainer(model, sampler, config, RandomStreams(0), evaluate=separation(DATASET)).fit(DATASET).drawn
    made_for, free, own, missing = (drawn[n::4] for n in range(4))
    assert made_for["generated"].equals(made_for["positive"], check_names=False)
    assert free["generated"].equals(free["negative"], check_names=False)
    assert (own["generated"] >= 0).all()
    assert not DATASET.train.contains(own["user"], own["generated"]).any()
    assert set(missing["generated"]) == {-1}
    assert [set(part["share"]) for part in (made_for, free, own, missing)] == [{0.25}, {0.5}, {0.75}, {0.0}]


@pytest.mark.parametrize("loss", ["bpr", "hinge", "softmax", "bce"])
def test_every_ranking_loss_falls(loss: str) -> None:
    model = MF(DATASET, MF.Config(embedding_size=8), generator=torch.Generator().manual_seed(1))
    sampler = UniformSampler(DATASET, UniformSampler.Config(n_negatives=3))
    config = TrainingConfig(loss=loss, epochs=8, batch_size=100, learning_rate=0.02, device="cpu")  # type: ignore[arg-type]
    trainer = Trainer(model, sampler, config, RandomStreams(0), evaluate=separation(DATASET))
    records = trainer.fit(DATASET).records
    assert records[-1]["losses"]["ranking"] < records[0]["losses"]["ranking"]
