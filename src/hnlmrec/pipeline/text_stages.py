"""The stages of the text side: prepare, profiles, hard negatives, encode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hnlmrec.config import Config, added
from hnlmrec.console import ProgressReporter
from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable, numbers_or_none
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.preparation import PreparationConfig, prepare_source, source_fingerprint
from hnlmrec.encoders import EncoderConfig, encode_to_file, join_fields, open_encoder
from hnlmrec.errors import DataError
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.hard_negatives import HardNegativesConfig, generate_hard_negatives, read_hard_negatives
from hnlmrec.generation.profiles import KINDS, Kind, ProfilesConfig, generate_profiles, read_profiles
from hnlmrec.llm.providers import LLMConfig
from hnlmrec.pipeline.graph import Stage, StageSummary
from hnlmrec.pipeline.session import LLMSession, model_content
from hnlmrec.rng import RandomStreams


class PrepareConfig(Config):
    """What decides a prepared data set, besides the source's content."""

    seed: int
    """Seed of the subset and of the splits."""
    data: PreparationConfig
    """The run's section `data`."""


class PrepareStage(Stage[PrepareConfig]):
    """Reads, filters and splits a data set."""

    name = "prepare"

    def __init__(self, config: PrepareConfig) -> None:
        self.data = config.data
        # The key holds the source's content and name; where it lies changes nothing.
        name = Path(config.data.source).expanduser().resolve().name
        self.config = config.model_copy(update={"data": config.data.model_copy(update={"source": name})})

    def external_inputs(self) -> dict[str, str]:
        """Return the sha256 of the source's content."""
        return {"source": source_fingerprint(self.data.source)}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the tables of a prepared data set."""
        del inputs
        prepared = prepare_source(self.data, RandomStreams(self.config.seed))
        prepared.save(out)
        return StageSummary(prepared.dataset.counts())


class ProfilesStageConfig(Config):
    """What decides the profiles."""

    seed: int
    """Draws the items of a user's history that its prompt shows."""
    llm: LLMConfig
    profiles: ProfilesConfig


class ProfilesStage(Stage[ProfilesStageConfig]):
    """Lets the LLM write a profile of every item and user; input prepare."""

    name = "profiles"

    def __init__(self, config: ProfilesStageConfig, session: LLMSession, progress: ProgressReporter) -> None:
        self.config, self.session, self.progress = config, session, progress

    def external_inputs(self) -> dict[str, str]:
        """Return the fingerprints of the prompts."""
        prompts = {f"{kind}_prompt": t.fingerprint for kind, t in self.config.profiles.templates().items()}
        return {**prompts, **model_content(self.config.llm)}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write item_profiles.jsonl, user_profiles.jsonl and failures.jsonl."""
        require_texts(inputs["prepare"])
        with self.progress.task("profiles of items and users") as advance:
            summary = generate_profiles(
                TextCatalogue.load(inputs["prepare"]),
                self.config.profiles,
                client=self.session.client,
                completion=self.config.llm.completion(),
                streams=RandomStreams(self.config.seed),
                out=out,
                concurrency=self.config.llm.concurrency,
                engine=self.session.engine,
                progress=advance,
            )
        return StageSummary(summary.counts())


class EncodeConfig(Config):
    """What decides the vectors."""

    encoder: EncoderConfig
    kinds: tuple[Kind, ...] = added(KINDS)
    """Whose texts are encoded."""


class EncodeTextsStage(Stage[EncodeConfig]):
    """Encodes the texts of items and users; inputs prepare and, where there are any, profiles."""

    name = "encode"

    def __init__(self, config: EncodeConfig, session: LLMSession, progress: ProgressReporter) -> None:
        self.config, self.session, self.progress = config, session, progress

    def external_inputs(self) -> dict[str, str]:
        """Return the part of the stage, and the encoder's fingerprint."""
        return {"part": "texts", "encoder": open_encoder(self.config.encoder).fingerprint}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the embedding tables "items" and "users", or those of them that are asked for."""
        require_texts(inputs["prepare"])
        config = self.config.encoder
        encoder = self.session.encoder(config)
        counts: dict[str, int] = {}
        for kind in self.config.kinds:
            ids, texts = item_or_user_texts(inputs, kind, config)
            size, chunk, path = config.batch_size, self.session.chunk_size, out / f"{kind}s.npy"
            with self.progress.task(f"encode {len(texts)} {kind} texts") as advance:
                encode_to_file(encoder, texts, path, batch_size=size, chunk_size=chunk, progress=advance)
            pl.DataFrame({"id": ids}, schema={"id": pl.String}).write_parquet(out / f"{kind}s.parquet")
            counts |= {f"{kind}s": len(texts), f"{kind}s_without_text": sum(not text for text in texts)}
        return StageSummary(counts)


class HardNegativesStageConfig(Config):
    """What decides the generated negatives."""

    seed: int
    llm: LLMConfig
    hard_negatives: HardNegativesConfig
    encoder: EncoderConfig
    """Grounding compares a generated name with the titles by this encoder."""


class HardNegativesStage(Stage[HardNegativesStageConfig]):
    """Lets the LLM name hard negatives and grounds them in the catalogue; inputs prepare, profiles and texts."""

    name = "hard_negatives"

    def __init__(self, config: HardNegativesStageConfig, session: LLMSession, progress: ProgressReporter) -> None:
        self.config, self.session, self.progress = config, session, progress

    def external_inputs(self) -> dict[str, str]:
        """Return the fingerprints of prompt and encoder."""
        encoder = open_encoder(self.config.encoder)
        prompt = self.config.hard_negatives.template().fingerprint
        return {"prompt": prompt, "encoder": encoder.fingerprint, **model_content(self.config.llm)}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write hard_negatives.jsonl, failures.jsonl and grounding.json."""
        encoder = self.session.encoder(self.config.encoder)
        with self.progress.task("hard negatives") as advance:
            summary = generate_hard_negatives(
                TextCatalogue.load(inputs["prepare"]),
                self.config.hard_negatives,
                item_profiles=read_profiles(inputs["profiles"], "item"),
                user_profiles=read_profiles(inputs["profiles"], "user"),
                item_vectors=EmbeddingTable.load(inputs["texts"], "items").vectors,
                encode=lambda texts: encoder.encode(texts, batch_size=self.config.encoder.batch_size),
                client=self.session.client,
                completion=self.config.llm.completion(),
                streams=RandomStreams(self.config.seed),
                out=out,
                concurrency=self.config.llm.concurrency,
                engine=self.session.engine,
                progress=advance,
            )
        return StageSummary({**summary.rows.counts(), "grounding": dict(summary.outcomes)})


class EncodeNegativesStage(Stage[EncodeConfig]):
    """Encodes the generated negatives; inputs prepare, profiles, texts and generated.

    A negative that was matched to a catalogue item gets the vector of that item's text, so that it lies where the
    item lies; one that stands for no item gets the vector of its name, as the paper's text variant has it.
    """

    name = "encode"

    def __init__(
        self,
        config: EncodeConfig,
        hard_negatives: HardNegativesConfig,
        session: LLMSession,
        progress: ProgressReporter,
    ) -> None:
        self.config, self.hard_negatives, self.session, self.progress = config, hard_negatives, session, progress

    def external_inputs(self) -> dict[str, str]:
        """Return the part of the stage, the encoder's fingerprint, and which outcomes are kept."""
        kept = ",".join(self.hard_negatives.keep)
        return {"part": "negatives", "keep": kept, "encoder": open_encoder(self.config.encoder).fingerprint}

    def run(self, inputs: Mapping[str, Path], out: Path) -> StageSummary:
        """Write the table of hard negatives."""
        dataset = InteractionDataset.load(inputs["prepare"])
        kept = read_hard_negatives(inputs["generated"], self.hard_negatives.keep)
        ids, texts = item_or_user_texts(inputs, "item", self.config.encoder)
        item_texts = dict(zip(ids, texts, strict=True))
        with self.progress.task(f"encode {len(kept)} hard negatives") as advance:
            vectors = self.session.encoder(self.config.encoder).encode(
                [item_texts.get(row["item_id"]) or row["name"] for row in kept],
                batch_size=self.config.encoder.batch_size,
                progress=advance,
            )
        table = HardNegativeTable(
            dataset.users.numbers([row["user_id"] for row in kept]),
            numbers_or_none(dataset.items, [row["positive_id"] for row in kept]),
            vectors.astype(np.float16),
            dataset.n_items,
            numbers_or_none(dataset.items, [row["item_id"] for row in kept]),
        )
        table.save(out, dataset)
        return StageSummary({"rows": len(table), "grounded": int((table.items >= 0).sum())})


def require_texts(prepared: Path) -> None:
    """Check that there is something to read.

    Raises:
        DataError: no item has a title, facts or a profile.
    """
    items = pl.read_parquet(prepared / "items.parquet")
    texts = pl.concat_str(pl.col("title", "facts", "profile").fill_null(""))
    if not items.select((texts.str.strip_chars() != "").any()).item():
        raise DataError(
            "no item of this data set has a title, facts or a profile, so there is no text to work with. Add "
            "items.jsonl to the data folder, or choose a sampler that needs interactions only (uniform, dns, …) "
            "and initialisation=random."
        )


def item_or_user_texts(
    inputs: Mapping[str, Path], kind: Kind, config: EncoderConfig
) -> tuple[list[str], list[str]]:
    """Return ids and texts of all items or users, in the order of their numbers; "" where there is nothing to say.

    A profile that the LLM has written takes the place of the source's own.
    """
    frame = pl.read_parquet(inputs["prepare"] / f"{kind}s.parquet")
    ids = frame[f"{kind}_id"].to_list()
    profiles = read_profiles(inputs["profiles"], kind) if "profiles" in inputs else {}
    fields = config.item_fields if kind == "item" else config.user_fields
    texts = [
        join_fields({**row, "profile": profiles.get(row[f"{kind}_id"], row["profile"])}, fields)
        for row in frame.iter_rows(named=True)
    ]
    return ids, texts
