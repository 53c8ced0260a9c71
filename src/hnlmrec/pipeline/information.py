"""What a run's language model knows of collaborative signals, before and after its fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from hnlmrec.artifacts import storage_errors, write_json
from hnlmrec.config import build
from hnlmrec.console import ProgressReporter, SilentProgress
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.errors import ConfigError
from hnlmrec.evaluation.mutual_information import InformationConfig, mutual_information_bounds
from hnlmrec.finetuning import CollaborativeEncoder, EncoderInputs, Triplets, generate_embeddings
from hnlmrec.finetuning.untuned import untuned_encoder
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.finetuning_stages import read_inputs
from hnlmrec.pipeline.results import Run
from hnlmrec.rng import RandomStreams

FILE = "information.json"
_NEEDED = ("prepare", "holdout/judge", "pretrain", "triplets", "finetune", "vectors")
_KINDS: tuple[Literal["users"], Literal["items"]] = ("users", "items")


def measure_information(
    run: Run, config: InformationConfig, *, out: Path | None = None, progress: ProgressReporter | None = None
) -> dict[str, Any]:
    """Bound the mutual information between the LLM's vectors and the CF vectors, before and after the tuning.

    "after" are the tables of the stage `vectors`. For "before" the same encoder, with its adapter at the initial
    state, writes vectors of the same prompts; they are kept, so that a second call does not make them again. The
    CF vectors are those of `pretrain`, the collaborative signals that the LLM was tuned on.

    Args:
        run: a finished run with a fine-tuned LLM.
        config: see `InformationConfig`.
        out: folder for information.json and the vectors before; `information` in the run's folder by default.
        progress: shows how far it has come.

    Returns:
        {"run", "encoder" (settings that decide what can be read off the bound), "config", "rows": a dictionary for
        each kind, state and K, see `InformationBound`}. Items that the LLM does not read (documents = "cf") have
        no rows: their vectors are the CF vectors.

    Raises:
        ConfigError: the run has no fine-tuned LLM.
        DataError: too few users or items for the largest K.
    """
    missing = [label for label in _NEEDED if label not in run.stages]
    if missing:
        raise ConfigError(
            f"the run {run.folder} has no stage {', '.join(missing)}: only a run with a fine-tuned LLM can tell "
            "what the tuning did. Make one, for example `hnlmrec run toys-hnlmrec --until vectors`."
        )
    out = out or run.folder / "information"
    settings = build(RunConfig, run.result["config"], where=f"the configuration of the run {run.folder}")
    encoder = CollaborativeEncoder.load(
        run.payload("finetune"), device=settings.finetuning.device, precision=settings.finetuning.precision
    )
    kinds = [kind for kind in _KINDS if kind == "users" or encoder.settings.documents == "encoded"]
    with storage_errors(out):
        untuned, inputs = _untuned(run, settings, encoder)
        dataset, vectors = InteractionDataset.load(run.payload("prepare")), settings.finetuning.vectors
        rows = []
        for kind in kinds:
            signals = EmbeddingTable.load(run.payload("pretrain"), kind)
            with (progress or SilentProgress()).task(f"vectors of {kind}, before") as advance:
                before = generate_embeddings(
                    untuned, inputs, dataset, kind, vectors, out=out / "before", progress=advance
                )
            states = {"before": before, "after": EmbeddingTable.load(run.payload("vectors"), kind)}
            for state, table in states.items():
                bounds = mutual_information_bounds(table, signals, config, RandomStreams(settings.seed))
                rows += [{"kind": kind, "vectors": state, **asdict(bound)} for bound in bounds]
        shown = ("base_model", "n_layers", "cf_signal", "residual", "documents")
        described = {
            "run": str(run.folder),
            "encoder": {name: getattr(encoder.settings, name) for name in shown},
            "config": config.model_dump(mode="json"),
            "rows": rows,
        }
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / FILE, described)
    return described


def information_text(described: Mapping[str, Any]) -> str:
    """Return the lines that a person sees."""
    lines = [f"{'':<14} {'K':>5} {'bound':>7} {'95 % interval':>17} {'log K':>6} {'shuffled':>9}   nats"]
    for row in described["rows"]:
        low, high = row["interval"]
        lines.append(
            f"{row['kind'] + ' ' + row['vectors']:<14} {row['k']:>5} {row['bound']:>7.3f} {low:>8.3f} "
            f"{high:>8.3f} {row['cap']:>6.2f} {row['control']:>9.3f}"
        )
    encoder = described["encoder"]
    if encoder["residual"] or encoder["cf_signal"] != "none":
        lines.append(
            "This encoder is given the CF vectors, so part of the bound is what it was given. To see what it "
            'makes of texts alone, tune one with finetuning.encoder.cf_signal="none" and residual=false.'
        )
    return "\n".join(lines)


def _untuned(
    run: Run, settings: RunConfig, tuned: CollaborativeEncoder
) -> tuple[CollaborativeEncoder, EncoderInputs]:
    """Return the encoder that the fine-tuning began with, and what it reads."""
    section, streams = settings.finetuning, RandomStreams(settings.seed)
    roles = {"prepare": run.payload("holdout/judge"), "pretrain": run.payload("pretrain")}
    if "profiles/inner" in run.stages:
        roles["profiles"] = run.payload("profiles/inner")
    inputs = read_inputs(roles, section.texts, streams)
    encoder = untuned_encoder(
        tuned,
        Triplets.load(run.payload("triplets")),
        inputs,
        section.training,
        seed=streams.integer("encoder"),
        device=section.device,
        precision=section.precision,
    )
    return encoder, inputs
