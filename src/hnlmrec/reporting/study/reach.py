"""How fast each system converges: when it reaches 95 % of the best that the baseline reaches on validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from hnlmrec.reporting.study.inputs import NO_START, Outline, Part, StudyFiles
from hnlmrec.reporting.tables import Cell, Row, Table, metric_title

SHARE = 0.95
REACH_SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("dataset", "model", "varied", "value", "variant", "initialisation"), pl.String),
    "seed": pl.Int64,
    "metric": pl.String,
    "target": pl.Float64,
    "epoch": pl.Int64,
    "seconds": pl.Float64,
}
_DASH = "–"


def watched_metric(curves: pl.DataFrame, preferred: str) -> str | None:
    """Return the metric that all trainings followed on validation."""
    names = curves.filter(pl.col("split") == "valid")["metric"].unique().to_list() if len(curves) else []
    return preferred if preferred in names else min(names, default=None)


def reach_frame(files: StudyFiles, parts: Sequence[Part]) -> pl.DataFrame:
    """Return a row for each training: the first evaluated epoch that reaches the target, and seconds until then.

    The target is 0.95 times the baseline's best value on validation under the same initialisation, its mean over
    the seeds. Epoch and seconds are null where a training never reaches it. Seconds are those of training, without
    the evaluations between.

    Args:
        files: of the study.
        parts: those that are wanted.
    """
    rows = [row for part in parts for row in _rows(files, part)]
    return pl.DataFrame(rows, schema=REACH_SCHEMA)


def reach_table(frame: pl.DataFrame, outline: Outline) -> Table | None:
    """Return the table of one part: means over the seeds, the fastest of each initialisation bold.

    None where there are no rows. A system that misses the target in a seed has no mean: the last column says in
    how many it was reached.
    """
    if not len(frame):
        return None
    rows = []
    for start, own in frame.group_by("initialisation", maintain_order=True):
        found = own.group_by("variant", maintain_order=True).agg(
            pl.col("epoch").mean(), pl.col("seconds").mean(), pl.col("epoch").count().alias("reached"), pl.len()
        )
        whole = found.filter(pl.col("reached") == pl.col("len"))
        best = {name: whole[name].min() for name in ("epoch", "seconds")}
        for row in found.iter_rows(named=True):
            is_whole = row["reached"] == row["len"]
            cells = [
                Cell(f"{row[name]:.1f}", 1 if row[name] == best[name] else 0) if is_whole else Cell(_DASH)
                for name in ("epoch", "seconds")
            ]
            note = "baseline" if row["variant"] == outline.baseline else ""
            cells.append(Cell(f"{row['reached']} of {row['len']}"))
            rows.append(Row(f"{start[0]} initialisation", row["variant"], note, tuple(cells)))
    return Table(("epochs", "seconds", "reached in seeds"), tuple(rows))


def reach_caption(frame: pl.DataFrame, outline: Outline) -> str:
    """Return what a reader has to know to read the table."""
    return (
        f"First evaluated epoch, and seconds of training until then, at which {metric_title(frame['metric'][0])} "
        f"on validation reaches {100 * SHARE:.0f} % of the best value of {outline.baseline} under the same "
        "initialisation; means over the seeds. The stages before the training are not in it."
    )


def _rows(files: StudyFiles, part: Part) -> Iterator[dict[str, Any]]:
    place = {name: getattr(part, name) for name in ("dataset", "model", "varied", "value")}
    curves = files.curves.filter(**place) if len(files.curves) else files.curves
    metric = watched_metric(curves, files.outline.metrics[0])
    if metric is None:
        return
    curves = curves.filter(split="valid", metric=metric).sort("epoch")
    for start in dict.fromkeys(start for _, start in part.systems if start != NO_START):
        own = curves.filter(initialisation=start)
        best = own.filter(variant=files.outline.baseline).group_by("seed").agg(pl.col("value_at").max())
        if not len(best):
            continue
        target = SHARE * best.sort("seed")["value_at"].to_numpy().mean()
        for variant in (variant for variant, begun in part.systems if begun == start):
            trained = own.filter(variant=variant)
            for seed in sorted(trained["seed"].unique()):
                reached = trained.filter(pl.col("value_at") >= target, seed=seed)
                first = reached.row(0, named=True) if len(reached) else {"epoch": None, "seconds": None}
                found = {"epoch": first["epoch"], "seconds": first["seconds"]}
                told = {"variant": variant, "initialisation": start, "seed": seed, "metric": metric}
                yield {**place, **told, "target": float(target), **found}
