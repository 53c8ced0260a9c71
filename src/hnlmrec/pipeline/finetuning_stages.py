"""The stages that teach a language model collaborative signals: triplets, finetune, vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hnlmrec.config import Config, runtime
from hnlmrec.console import ProgressReporter
from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.finetuning import (
    CFShape,
    CollaborativeEncoder,
    EncoderInputs,
    EncoderSettings,
    FinetuningConfig,
    FinetuningTexts,
    GenerationConfig,
    TextsConfig,
    TripletInputs,
    Triplets,
    TripletsConfig,
    build_triplets,
    finetune,
    generate_embeddings,
    generate_hard_negatives,
    vectors_by_number,
)
from hnlmrec.finetuning.inputs import Floats
from hnlmrec.generation.profiles import read_profiles
from hnlmrec.pipeline.graph import Stage, StageSummary
from hnlmrec.rng import RandomStreams


class TripletsStageConfig(Config):
    """What decides the triplets."""

    seed: int
    triplets: TripletsConfig


class TripletsStage(Stage[TripletsStageConfig]):
    """Chooses hard items; inputs prepare (an inner train), pairs (what is held out of it) and pretrain.

    Where the strategy reads them, texts and hard_negatives as well.
    """

    name = "triplets"

    def __init__(self, config: TripletsStageConfig) -> None:
        self.config = config

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write triplets.parquet."""
        dataset = InteractionDataset.load(inputs["prepare"])
        users, items = _cf_vectors(inputs["pretrain"], dataset)
        texts = inputs.get("texts")
        generated = inputs.get("hard_negatives")
        triplets = build_triplets(
            TripletInputs(
                dataset.train,
                users,
                items,
                None if texts is None else vectors_by_number(EmbeddingTable.load(texts, "items"), dataset.items),
                None if generated is None else HardNegativeTable.load(generated, dataset),
                InteractionDataset.load(inputs["pairs"]).valid,
            ),
            self.config.triplets,
            RandomStreams(self.config.seed),
        )
        triplets.save(out)
        return StageSummary({"triplets": len(triplets), "held_out": int(triplets.held_out.sum())})


class FinetuneStageConfig(Config):
    """What decides a fine-tuned encoder."""

    seed: int
    texts: TextsConfig
    encoder: EncoderSettings
    training: FinetuningConfig
    precision: str
    device: str = runtime("auto")


class FinetuneStage(Stage[FinetuneStageConfig]):
    """Fine-tunes the encoder; inputs prepare (an inner train), pretrain, triplets and, where used, profiles."""

    name = "finetune"
    shared = True

    def __init__(self, config: FinetuneStageConfig, progress: ProgressReporter) -> None:
        self.config, self.progress = config, progress

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the encoder, losses.jsonl and metrics.json."""
        config, streams = self.config, RandomStreams(self.config.seed)
        encoder_inputs = read_inputs(inputs, config.texts, streams)
        encoder = CollaborativeEncoder(
            config.encoder,
            CFShape.of(encoder_inputs),
            seed=streams.integer("encoder"),
            device=config.device,
            precision=config.precision,
        )
        with self.progress.task("fine-tune the language model") as advance:
            result = finetune(
                encoder,
                Triplets.load(inputs["triplets"]),
                encoder_inputs,
                config.training,
                streams=streams,
                out=out,
                progress=lambda done, total, _loss: advance(done, total),
            )
        counts = {"steps": result.steps}
        measures = {
            f"{name} {when}": round(value, 4)
            for when, values in (("before", result.before), ("after", result.after))
            for name, value in values.items()
        }
        return StageSummary({**counts, **measures})


class VectorsStageConfig(Config):
    """What decides the vectors."""

    seed: int
    texts: TextsConfig
    vectors: GenerationConfig
    precision: str
    device: str = runtime("auto")


class VectorsStage(Stage[VectorsStageConfig]):
    """Lets the encoder write its vectors; inputs prepare, inner, pretrain, finetune and, where used, profiles.

    Histories are those of the inner train, so that what a judge is calibrated on stays unseen.
    """

    name = "vectors"

    def __init__(self, config: VectorsStageConfig, progress: ProgressReporter) -> None:
        self.config, self.progress = config, progress

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the tables "items", "users" and the hard negatives."""
        config, streams = self.config, RandomStreams(self.config.seed)
        dataset = InteractionDataset.load(inputs["prepare"])
        encoder = CollaborativeEncoder.load(inputs["finetune"], device=config.device, precision=config.precision)
        roles = {**inputs, "prepare": inputs["inner"]}
        encoder_inputs = read_inputs(roles, config.texts, streams)
        tables = {}
        for kind in ("items", "users"):
            with self.progress.task(f"vectors of {kind}") as advance:
                tables[kind] = generate_embeddings(
                    encoder, encoder_inputs, dataset, kind, config.vectors, out=out, progress=advance
                )
        with self.progress.task("vectors of hard negatives") as advance:
            negatives = generate_hard_negatives(
                encoder,
                encoder_inputs,
                dataset,
                config.vectors,
                streams=streams,
                out=out,
                catalogue=tables["items"],
                progress=advance,
            )
        return StageSummary({**{k: len(t.ids) for k, t in tables.items()}, "hard_negatives": len(negatives)})


def read_inputs(inputs: Mapping[str, Path], config: TextsConfig, streams: RandomStreams) -> EncoderInputs:
    """Read what the encoder reads: texts of the prepared folder, CF vectors of the pre-trained model."""
    dataset = InteractionDataset.load(inputs["prepare"])
    profiles = inputs.get("profiles")
    texts = FinetuningTexts.load(
        inputs["prepare"],
        config,
        streams,
        item_profiles=None if profiles is None else read_profiles(profiles, "item"),
        user_profiles=None if profiles is None else read_profiles(profiles, "user"),
    )
    return EncoderInputs(texts, *_cf_vectors(inputs["pretrain"], dataset))


def _cf_vectors(folder: Path, dataset: InteractionDataset) -> tuple[Floats, Floats]:
    return (
        vectors_by_number(EmbeddingTable.load(folder, "users"), dataset.users),
        vectors_by_number(EmbeddingTable.load(folder, "items"), dataset.items),
    )
