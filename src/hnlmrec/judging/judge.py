"""A judge of unobserved pairs: evidence weighed by a choice model, calibrated on held-out positives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numba
import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, model_validator

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
_CUTOFF = 20  # of the rankings that are measured
_ROUNDS = 2  # of fitting to the head: the first is that of a judge fitted to the catalogue
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
    popularity: bool = added(False)
    """Whether an item's popularity is evidence of its own, by which the judge sets right how much of it the others
    carry."""
    prior_precision: float = added(0.0, ge=0)
    """Precision of a normal prior, with mean 0, on the evidence's weights in standard deviations. The fewer pairs
    are held out, the more does it count, and the more would many pieces of evidence overfit without it."""
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
    fitted_to: Literal["catalogue", "head"] = added("catalogue")
    """What the weights tell held-out positives from. `catalogue`: all unobserved items. `head`: the
    `hard_candidates` items of each user that the judge itself ranks highest, where its list ends and its order
    counts; each evidence then also enters over the square root of the user's number of train items, since sums
    over a history grow with it."""
    top: int = Field(100, ge=1)
    """Unobserved items kept of each user; the others count as unlikely."""
    chunk_size: int = runtime(_CHUNK, ge=1)
    """Users scored at once."""

    @model_validator(mode="after")
    def _noise_is_heard(self) -> Self:
        if self.noise and self.name in ("behaviour", "ease_text"):
            raise ValueError(
                f"noise takes the place of a language model's vectors, and the judge {self.name!r} hears none. "
                "Set name = 'tuned_text' or 'llm', or noise = false"
            )
        return self


@dataclass(frozen=True)
class JudgeReport:
    """How good a judge is on held-out positives of users that it was not fitted on.

    Attributes:
        name: of the judge, or of a single evidence with "alone" behind it. Judges come first, that with all
            evidence last of them.
        auc_uniform: P(a held-out positive scores above another unobserved item drawn uniformly).
        auc_hard: the same among the items that the strongest evidence ranks highest, positives and others: the
            hard negatives that a judge has to tell from false ones.
        recall: Recall@20 of the held-out positives among all items that the user has not in the inner train split:
            the judge, or the single evidence, as a recommender.
        brier: mean squared error of the probabilities over all pairs; None for a single evidence.
        bins: see `calibration_bins`.

    An area is None where there were no pairs of both kinds to measure it on, and `recall` where no user was left.
    """

    name: str
    auc_uniform: float | None
    auc_hard: float | None
    recall: float | None
    brier: float | None
    bins: list[dict[str, float]]


@dataclass(frozen=True)
class _Sample:
    """Pairs of the users in a sample: what the evidence says, whether they were held out, and their importance."""

    features: npt.NDArray[Any]  # [n, 2 f], or 3 f
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
    (weights are the inverse of the chance to be drawn, so probabilities are those of the population). With
    `fitted_to` "head" the weights are then fitted anew, to the items that they rank highest themselves. `judge`
    then applies it to evidence made from the whole train split. The probability is that of being among the
    held-out pairs: with a tenth of train held out, it tells order and odds, not the share of all items that a
    user would ever like.

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
        is_fitting = rng.random(inner.n_users) < 0.5
        fitted = is_fitting[sample.users]
        judges, width = self.smaller | {self.config.name: len(self.evidence)}, self._n_columns
        precision = self.config.prior_precision
        choices = [_choice(sample, fitted, width * n_evidence, precision) for n_evidence in judges.values()]
        for _ in range(_ROUNDS if self.config.fitted_to == "head" else 0):
            choices = self._fitted_to_heads(choices, inner, users[is_fitting[users]])
        reports = []
        for (name, n_evidence), choice in zip(judges.items(), choices, strict=True):
            scores = choice.scores(sample.features[:, : width * n_evidence])
            calibration = IsotonicCalibration.fit(
                scores[fitted], sample.outcomes[fitted], sample.importance[fitted]
            )
            reports.append(_report(name, sample, ~fitted, scores[~fitted], calibration))
            self.choice, self.calibration = choice, calibration
        for n, source in enumerate(self.evidence):
            reports.append(_report(f"{source.name} alone", sample, ~fitted, sample.features[~fitted, width * n]))
        recalls = self._recalls(choices, inner, users[~is_fitting[users]])
        return [replace(report, recall=recall) for report, recall in zip(reports, recalls, strict=True)]

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
            scores = self._weighed(self.choice, evidence, dataset.train.degrees[users])
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
        forms = ("{}", "log {}", "{} / sqrt(items)")[: self._n_columns]
        names = [form.format(source.name) for source in self.evidence for form in forms]
        return dict(zip(names, self.choice.weights.tolist(), strict=True))

    def _chunks(self, sources: Sequence[Evidence], users: Numbers) -> Iterator[tuple[Numbers, list[Scores]]]:
        """Yield (users [B], what each source says of them, f times [B, n_items])."""
        size = max(1, min(self.config.chunk_size, _VALUES // (len(sources) * self._n_items)))
        for start in range(0, len(users), size):
            chunk = users[start : start + size]
            yield chunk, [source.scores(chunk) for source in sources]

    @property
    def _n_columns(self) -> int:
        """Features that each evidence enters by."""
        return 3 if self.config.fitted_to == "head" else 2

    def _weighed(self, choice: ConditionalLogit, evidence: Sequence[Scores], n_items_of: Numbers) -> Doubles:
        """Return a choice model's scores [B, n_items], without making its features for all items.

        Args:
            choice: it may have weights for the first pieces of evidence alone.
            evidence: f times [B, n_items].
            n_items_of: int64 [B], train items of each user.
        """
        n_users, n_items = evidence[0].shape
        total, shares = np.zeros((n_users, n_items)), share(np.full(n_users, n_items), 1)
        weights, roots = choice.weights.reshape(-1, self._n_columns), _roots(n_items_of)
        for values, scale, row in zip(evidence, self._scales, weights, strict=False):
            plain = row[0] + sum(row[2:]) / roots
            in_threads(_add, shares, values, scale, plain, row[1], total)
        return total

    def _features(self, evidence: Sequence[Scores], cells: tuple[Numbers, Numbers], n_items_of: Numbers) -> Scores:
        """Return the features of n cells of [B, n_items], [n, `_n_columns` f]."""
        columns, roots = [], _roots(n_items_of)[cells[0]]
        for values, scale in zip((scores[cells] for scores in evidence), self._scales, strict=False):
            columns += [values, np.sign(values) * np.log1p(np.abs(values) / scale)]
            if self._n_columns > 2:
                columns.append(values / roots)
        return np.stack(columns, axis=-1)

    def _fitted_to_heads(
        self, choices: Sequence[ConditionalLogit], inner: InteractionDataset, users: Numbers
    ) -> list[ConditionalLogit]:
        """Return choice models of the items that each of these ranks highest.

        One whose highest hold no positive stays as it is.
        """
        n_head = min(self.config.hard_candidates, self._n_items)
        heads: list[list[tuple[Scores, npt.NDArray[np.bool_], Numbers]]] = [[] for _ in choices]
        for chunk, evidence in self._chunks(self.evidence, users):
            held = np.zeros(evidence[0].shape, dtype=np.bool_)
            held[inner.valid.cells(chunk)] = True
            degrees = inner.train.degrees[chunk]
            for choice, parts in zip(choices, heads, strict=True):
                scores = self._weighed(choice, evidence, degrees)
                _hide_train(scores, inner, chunk)
                head = _highest(scores, n_head)
                head &= np.isfinite(scores)
                rows, columns = np.nonzero(head)
                weighed = evidence[: len(choice.weights) // self._n_columns]
                features = self._features(weighed, (rows, columns), degrees)
                parts.append((features, held[rows, columns], chunk[rows]))
        found = []
        for choice, parts in zip(choices, heads, strict=True):
            features, outcomes, owners = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            if outcomes.any():
                importance, precision = np.ones(len(outcomes)), self.config.prior_precision
                choice = ConditionalLogit.fit(features, outcomes, importance, owners, precision)  # noqa: PLW2901
            found.append(choice)
        return found

    def _recalls(
        self, choices: Sequence[ConditionalLogit], inner: InteractionDataset, users: Numbers
    ) -> list[float | None]:
        """Return Recall@20 of what was held out, of each choice model, then of each evidence alone."""
        n_top, found = min(_CUTOFF, self._n_items), []
        for chunk, evidence in self._chunks(self.evidence, users):
            rows, columns = inner.valid.cells(chunk)
            rankings = [self._weighed(choice, evidence, inner.train.degrees[chunk]) for choice in choices]
            recalls = []
            for scores in (*rankings, *(values.astype(np.float64) for values in evidence)):
                _hide_train(scores, inner, chunk)
                hits = _highest(scores, n_top)[rows, columns]
                recalls.append(np.bincount(rows, hits) / np.bincount(rows))
            found.append(np.stack(recalls))
        if not found:
            return [None] * (len(choices) + len(self.evidence))
        means: list[float | None] = np.concatenate(found, axis=1).mean(axis=1).tolist()
        return means

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
            hard = _highest(strongest, min(self.config.hard_candidates, self._n_items)) & free
            rest = free & ~hard & ~held
            share = np.minimum(1.0, self.config.uniform_candidates / np.maximum(rest.sum(axis=1), 1))
            drawn = rest & (rng.random(rest.shape) < share[:, None])
            rows, columns = np.nonzero(hard | held | drawn)
            unchosen = np.where(hard, 1.0, 1 / share[:, None])[rows, columns]
            outcomes = held[rows, columns]
            importance = np.where(outcomes, 1.0, unchosen)
            is_hard = hard[rows, columns]
            features = self._features(evidence, (rows, columns), inner.train.degrees[chunk])
            parts.append((features, outcomes, importance, unchosen, is_hard, chunk[rows]))
        return _Sample(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _choice(sample: _Sample, rows: npt.NDArray[np.bool_], n_features: int, precision: float) -> ConditionalLogit:
    features, outcomes = sample.features[rows, :n_features], sample.outcomes[rows]
    return ConditionalLogit.fit(features, outcomes, sample.unchosen[rows], sample.users[rows], precision)


def _highest(scores: Doubles, n: int) -> npt.NDArray[np.bool_]:
    """Return which n scores of each row [B, n_items] are the highest."""
    result = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(result, np.argpartition(-scores, n - 1, axis=1)[:, :n], True, axis=1)
    return result


def _roots(n_items_of: Numbers) -> Doubles:
    return np.sqrt(np.maximum(n_items_of, 1))


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
        return JudgeReport(name, *areas, None, None, [])
    probabilities = calibration(scores)
    brier = brier_score(probabilities, outcomes, importance)
    return JudgeReport(name, *areas, None, brier, calibration_bins(probabilities, outcomes, importance))


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
            total[b, n] += plain[b] * value + logarithmic * (size if value >= 0 else -size)
