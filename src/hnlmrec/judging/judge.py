"""A judge of unobserved pairs: evidence weighed by a choice model, calibrated on held-out positives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat

from hnlmrec.config import added, runtime
from hnlmrec.data.interactions import InteractionDataset, Numbers
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.judging.calibration import (
    ConditionalLogit,
    Doubles,
    IsotonicCalibration,
    area_under_curve,
    brier_score,
    calibration_bins,
)
from hnlmrec.judging.co_interaction import CoInteractionConfig
from hnlmrec.judging.evidence import Evidence, Scores
from hnlmrec.models.ease import EASEConfig
from hnlmrec.models.threads import in_threads, share
from hnlmrec.rng import RandomStreams

_CHUNK = 512  # users scored at once
_VALUES = 2**28  # of all evidence held at once: 1 GiB
JudgeName = Literal["behaviour", "ease_text", "tuned_text", "llm"]


class JudgeConfig(EASEConfig):
    """How p(the user would have liked the item) is estimated, and what is kept of it."""

    name: JudgeName = "ease_text"
    """`behaviour`: EASE and the pre-trained CF model, no text. `ease_text`: EASE and the texts' cosines.
    `tuned_text`: these, and text vectors that are tuned on behaviour, those of a language model too where
    `judge_encoder` names one. `llm`: all of these, the CF model, and the LLM that was fine-tuned with it."""
    item_item: Literal["auto", "ease", "item_knn"] = added("auto")
    """What tells of behaviour: `ease`; or `item_knn`, weaker, whose memory does not grow with n_items squared.
    `auto`: EASE where its matrices are within `memory_limit_gib`."""
    text_power: float = Field(3.0, gt=0)
    """Exponent of the text cosines."""
    cf: Literal["signals", "retrained"] = added("signals")
    """The CF model that is evidence. `signals`: the one whose vectors the LLM learned from, trained from random
    values without what was held out of train. `retrained`: the same model from the items' texts, trained twice,
    without what the judge is fitted on and, for its judgements, on all of train: stronger, for two trainings."""
    noise: bool = added(False)
    """Random vectors in place of those of the language models, an ablation: what the judge owes to them is lost,
    and what more evidence alone would bring is kept."""
    tuning: CoInteractionConfig = added(CoInteractionConfig())
    """How text vectors are tuned on behaviour."""
    tuned_powers: tuple[PositiveFloat, ...] = added((1.0, 3.0), min_length=1)
    """Exponents of the cosines of tuned vectors, each a piece of evidence: 1 counts all that is related, as dense
    data wants it, 3 what is near."""
    holdout: float = Field(0.1, gt=0, lt=1)
    """Share of train that is held out to fit the weights and to calibrate; half of its users are for measuring."""
    fitting_users: int = Field(6_000, ge=10)
    """Users drawn for fitting and measuring."""
    hard_candidates: int = Field(100, ge=1)
    """Unobserved items of each of them that the strongest evidence ranks highest; each enters the fit."""
    uniform_candidates: int = Field(100, ge=1)
    """Other unobserved items of each, drawn uniformly, each of which stands for many."""
    top: int = Field(100, ge=1)
    """Unobserved items kept of each user; the others count as unlikely."""
    chunk_size: int = runtime(_CHUNK, ge=1)
    """Users scored at once."""


ALONE = " alone"
"""Ends the name of a report on a single evidence; those on judges come before, that with all evidence last."""


@dataclass(frozen=True)
class JudgeReport:
    """How good a judge is on held-out positives of users that it was not fitted on.

    Attributes:
        name: of the judge, or of a single evidence.
        auc_uniform: P(a held-out positive scores above another unobserved item drawn uniformly).
        auc_hard: the same among the items that the strongest evidence ranks highest, positives and others: the
            hard negatives that a judge has to tell from false ones.
        brier: mean squared error of the probabilities over all pairs; None for a single evidence.
        bins: see `calibration_bins`.

    An area is None where there were no pairs of both kinds to measure it on.
    """

    name: str
    auc_uniform: float | None
    auc_hard: float | None
    brier: float | None
    bins: list[dict[str, float]]


@dataclass(frozen=True)
class _Sample:
    """Pairs of the users in a sample: what the evidence says, whether they were held out, and their importance."""

    features: npt.NDArray[Any]  # [n, 2 f]
    outcomes: npt.NDArray[np.bool_]  # [n]
    importance: Doubles  # [n], pairs of the population that a row stands for
    unchosen: Doubles  # [n], what its importance would be were it not a positive, all of which are here
    is_hard: npt.NDArray[np.bool_]  # [n], among the strongest evidence's highest
    users: Numbers  # [n], ascending


class Judge:
    """p(false negative | u, j): evidence weighed by a conditional logit, then calibrated.

    Each evidence enters as it is and on a logarithmic scale, since scores are heavy-tailed. The weights are
    fitted on an inner train split against the part held out of it: a sample of the users, of each the held-out
    positives, the items that the strongest evidence ranks highest, and uniform others that stand for the rest
    (weights are the inverse of the chance to be drawn, so probabilities are those of the population). `judge` then
    applies it to evidence made from the whole train split. The probability is that of being among the held-out
    pairs: with a tenth of train held out, it tells order and odds, not the share of all items that a user would
    ever like.

    Args:
        config: see `JudgeConfig`.
        evidence: what is weighed; the first is the strongest.
        smaller: by name, judges of the first so many pieces of evidence that are fitted and measured on the same
            pairs, so that a reader sees what the others add.
    """

    def __init__(
        self, config: JudgeConfig, evidence: Sequence[Evidence], smaller: Mapping[str, int] | None = None
    ) -> None:
        self.config, self.evidence, self.smaller = config, tuple(evidence), dict(smaller or {})

    def fit(self, inner: InteractionDataset, streams: RandomStreams) -> list[JudgeReport]:
        """Learn the weights and the calibration; measure the judge, the smaller ones and each single evidence.

        Args:
            inner: its train split makes the evidence, its valid split holds the positives held out of train.
            streams: the stream "judge/sample" decides which pairs are drawn.
        """
        self._n_items = inner.n_items
        for source in self.evidence:
            source.fit(inner)
        rng = streams.generator("judge/sample")
        users = np.flatnonzero(inner.valid.degrees)
        users = np.sort(rng.permutation(users)[: self.config.fitting_users])
        self._scales = self._typical_sizes(users)
        sample = self._draw(inner, users, rng)
        fitted = rng.random(inner.n_users)[sample.users] < 0.5
        reports = []
        for name, n_evidence in (self.smaller | {self.config.name: len(self.evidence)}).items():
            self.choice, self.calibration = _fit(sample, fitted, 2 * n_evidence)
            scores = self.choice.scores(sample.features[~fitted, : 2 * n_evidence])
            reports.append(_report(name, sample, ~fitted, scores, self.calibration))
        for n, source in enumerate(self.evidence):
            reports.append(_report(source.name + ALONE, sample, ~fitted, sample.features[~fitted, 2 * n]))
        return reports

    def judge(self, dataset: InteractionDataset, remade: Mapping[str, Evidence] | None = None) -> JudgementTable:
        """Make the evidence anew from the whole train split, and list each user's likeliest unobserved items.

        Args:
            dataset: its train split is judged.
            remade: by name, what somebody else has made anew from it, in place of the evidence of that name.
        """
        sources = [(remade or {}).get(source.name, source) for source in self.evidence]
        for source in sources:
            source.fit(dataset)
        parts: list[tuple[Numbers, Numbers, Doubles]] = []
        for users, evidence in self._chunks(sources, np.arange(dataset.n_users)):
            scores = self._weighed(evidence)
            _hide_train(scores, dataset, users)
            top = min(self.config.top, scores.shape[1])
            items = np.argpartition(-scores, top - 1, axis=1)[:, :top]
            values = np.take_along_axis(scores, items, axis=1)
            kept = np.isfinite(values)
            parts.append((np.repeat(users, top).reshape(items.shape)[kept], items[kept], values[kept]))
        users, items, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        probabilities = self.calibration(values).astype(np.float32)
        table = JudgementTable(users, items.astype(np.int64), probabilities, values.astype(np.float32))
        return table.best(self.config.top)

    def weights(self) -> dict[str, float]:
        """Return the weights of the choice model by evidence."""
        names = [name for source in self.evidence for name in (source.name, f"log {source.name}")]
        return dict(zip(names, self.choice.weights.tolist(), strict=True))

    def _chunks(self, sources: Sequence[Evidence], users: Numbers) -> Iterator[tuple[Numbers, list[Scores]]]:
        """Yield (users [B], what each source says of them, f times [B, n_items])."""
        size = max(1, min(self.config.chunk_size, _VALUES // (len(sources) * self._n_items)))
        for start in range(0, len(users), size):
            chunk = users[start : start + size]
            yield chunk, [source.scores(chunk) for source in sources]

    def _weighed(self, evidence: Sequence[Scores]) -> Doubles:
        """Return the choice model's scores [B, n_items], without making its features for all items."""
        n_users, n_items = evidence[0].shape
        total, shares = np.zeros((n_users, n_items)), share(np.full(n_users, n_items), 1)
        pairs = self.choice.weights.reshape(-1, 2).tolist()
        for values, scale, (plain, logarithmic) in zip(evidence, self._scales, pairs, strict=True):
            in_threads(_add, shares, values, scale, plain, logarithmic, total)
        return total

    def _features(self, evidence: Sequence[Scores], cells: tuple[Numbers, Numbers]) -> Scores:
        """Return the features of some cells of [B, n_items], [n, 2 f]."""
        columns = []
        for values, scale in zip((scores[cells] for scores in evidence), self._scales, strict=True):
            columns += [values, np.sign(values) * np.log1p(np.abs(values) / scale)]
        return np.stack(columns, axis=-1)

    def _typical_sizes(self, users: Numbers) -> list[np.float32]:
        """Return the scale of each evidence: the size that a score has where it says something."""
        some = users[: self.config.chunk_size]
        sizes = [np.quantile(np.abs(source.scores(some)), 0.9) for source in self.evidence]
        return [np.float32(max(size, 1e-6)) for size in sizes]

    def _draw(self, inner: InteractionDataset, users: Numbers, rng: np.random.Generator) -> _Sample:
        parts = []
        for chunk, evidence in self._chunks(self.evidence, users):
            strongest = evidence[0].astype(np.float64)
            held = np.zeros(strongest.shape, dtype=np.bool_)
            held[inner.valid.cells(chunk)] = True
            _hide_train(strongest, inner, chunk)
            free = np.isfinite(strongest)
            n_hard = min(self.config.hard_candidates, strongest.shape[1])
            hard = np.zeros_like(held)
            np.put_along_axis(hard, np.argpartition(-strongest, n_hard - 1, axis=1)[:, :n_hard], True, axis=1)
            hard &= free
            rest = free & ~hard & ~held
            share = np.minimum(1.0, self.config.uniform_candidates / np.maximum(rest.sum(axis=1), 1))
            drawn = rest & (rng.random(rest.shape) < share[:, None])
            rows, columns = np.nonzero(hard | held | drawn)
            unchosen = np.where(hard, 1.0, 1 / share[:, None])[rows, columns]
            outcomes = held[rows, columns]
            importance = np.where(outcomes, 1.0, unchosen)
            is_hard = hard[rows, columns]
            features = self._features(evidence, (rows, columns))
            parts.append((features, outcomes, importance, unchosen, is_hard, chunk[rows]))
        return _Sample(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _fit(
    sample: _Sample, rows: npt.NDArray[np.bool_], n_features: int
) -> tuple[ConditionalLogit, IsotonicCalibration]:
    features, outcomes = sample.features[rows, :n_features], sample.outcomes[rows]
    choice = ConditionalLogit.fit(features, outcomes, sample.unchosen[rows], sample.users[rows])
    return choice, IsotonicCalibration.fit(choice.scores(features), outcomes, sample.importance[rows])


def _report(
    name: str,
    sample: _Sample,
    rows: npt.NDArray[np.bool_],
    scores: npt.NDArray[Any],
    calibration: IsotonicCalibration | None = None,
) -> JudgeReport:
    outcomes, importance, is_hard = sample.outcomes[rows], sample.importance[rows], sample.is_hard[rows]
    areas = (
        _or_none(area_under_curve(scores, outcomes, importance)),
        _or_none(area_under_curve(scores[is_hard], outcomes[is_hard])),
    )
    if calibration is None:
        return JudgeReport(name, *areas, None, [])
    probabilities = calibration(scores)
    brier = brier_score(probabilities, outcomes, importance)
    return JudgeReport(name, *areas, brier, calibration_bins(probabilities, outcomes, importance))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _hide_train(scores: Doubles, dataset: InteractionDataset, users: Numbers) -> None:
    """Set the scores [B, n_items] of the users' train items to minus infinity."""
    rows, columns = dataset.train.cells(users)
    scores[rows, columns] = -np.inf


@numba.njit(cache=True, nogil=True)
def _add(values, scale, plain, logarithmic, total, block, first, last):  # type: ignore[no-untyped-def]  # noqa: ARG001, PLR0917
    for b in range(first, last):
        for n in range(values.shape[1]):
            value = values[b, n]
            size = np.log1p(abs(value) / scale)
            total[b, n] += plain * value + logarithmic * (size if value >= 0 else -size)
