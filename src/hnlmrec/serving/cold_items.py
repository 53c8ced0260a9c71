"""Items that nobody has yet, by their text: encoded as the run's items were, projected into its CF space."""

from __future__ import annotations

from pathlib import Path

from hnlmrec.data.column_names import ColumnNames
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.data.records import read_records
from hnlmrec.data.side_information import items_frame
from hnlmrec.encoders import join_fields, open_encoder
from hnlmrec.errors import DataError
from hnlmrec.pipeline.results import Run
from hnlmrec.serving.run_config import config_of
from hnlmrec.serving.text_projection import TextProjection
from hnlmrec.serving.vectors import TrainedVectors

TEXTS = "encode/texts"


def cold_catalogue(run: Run, vectors: TrainedVectors, path: Path) -> TrainedVectors:
    """Return the run's users with the cold items of a file as their catalogue.

    The cold items have a catalogue of their own, because the length of a vector says how popular an item is, which
    no text knows: among the other items they would hardly ever be recommended.

    Args:
        run: it must have encoded the texts of its items.
        vectors: of the run.
        path: item_id and the fields that the data set's items have, in JSON lines, .csv, .tsv or .parquet.

    Raises:
        DataError: the run has no text vectors, or an item of the file has no text or is in the run already.
    """
    if TEXTS not in run.stages:
        raise DataError(
            f"the run {run.folder} has no vectors of item texts, and cold items are placed by them. Run it again "
            "with initialisation=semantic, or with a sampler that reads texts (--sampler semantic)."
        )
    ids, texts, titles = _read(path, run)
    known = next((id_ for id_ in ids if id_ in vectors.dataset.items), None)
    if known is not None:
        raise DataError(f"{path}: item {known!r} is in the run already; give items that it was not trained with.")
    config = config_of(run).encoder
    warm, _ = EmbeddingTable.load(run.payload(TEXTS), "items").rows(vectors.dataset.items.all_ids)
    project = TextProjection.fit(warm, vectors.items, vectors.dataset.train.item_degrees)
    points = project(open_encoder(config).encode(texts, batch_size=config.batch_size))
    nothing = Interactions.from_pairs([], [], vectors.dataset.n_users, len(ids))
    dataset = InteractionDataset(vectors.dataset.users, Vocabulary(ids, "item"), nothing, nothing, nothing)
    return TrainedVectors(dataset, vectors.users, points, titles)


def _read(path: Path, run: Run) -> tuple[list[str], list[str], dict[str, str]]:
    """Return ids, texts and titles by id."""
    config = config_of(run)
    lines = read_records(path, ("item_id",), ColumnNames(dict(config.data.columns)))
    if lines.corrupt:
        raise DataError(f"{path}: {lines.corrupt.total} lines are not items. {lines.corrupt}.")
    frame = items_frame(lines.records)
    fields = config.encoder.item_fields
    texts = [join_fields(row, fields) for row in frame.iter_rows(named=True)]
    ids = frame["item_id"].to_list()
    silent = next((id_ for id_, text in zip(ids, texts, strict=True) if not text), None)
    if silent is not None:
        raise DataError(f"{path}: item {silent!r} has no text in any of {', '.join(fields)}.")
    return ids, texts, dict(zip(ids, frame["title"].to_list(), strict=True))
