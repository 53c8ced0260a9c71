"""How well does a judge recommend, by the form of its weights?

    python experiments/judge_forms.py artifacts/judge/KEY

The evidence of a judge that was made before is made once more, and judges with other settings are fitted to it. A
line of JSON for each: Recall@20 of what was held out of train (as calibration.json has it), and Recall@20 and
NDCG@20 on validation, of the judge as a recommender. The test split is not read.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.tables import read_json
from hnlmrec.evaluation.metrics import ndcg, recall
from hnlmrec.judging import Judge
from hnlmrec.pipeline.judge_stage import JudgeStageConfig, build_judge, remade_evidence
from hnlmrec.rng import RandomStreams

K = 20
FORMS = [
    {"popularity": popularity, "prior_precision": precision, "fitted_to": fitted_to}
    for popularity in (False, True)
    for precision in (0.0, 100.0)
    for fitted_to in ("catalogue", "head")
]


class Kept:
    """Evidence whose scores of some users are there already."""

    def __init__(self, source, users):
        self.name, self.users, self.values = source.name, users, source.scores(users)

    def fit(self, dataset):
        pass

    def scores(self, users):
        return self.values[np.searchsorted(self.users, users)]


def fitted_forms(judge, stage, inner):
    """Yield (settings, judge, its evidence's places) of each form."""
    users = np.flatnonzero(inner.valid.degrees)
    kept = {}
    for source in judge.evidence:
        source.fit(inner)
        kept[source.name] = Kept(source, users)
    places = {name: n for n, name in enumerate(kept)}
    for form in FORMS:
        evidence = [source for source in kept.values() if form["popularity"] or source.name != "popularity"]
        config = stage.judge.model_copy(update=form)
        fitted = Judge(config, evidence)
        reports = {report.name: report.recall for report in fitted.fit(inner, RandomStreams(stage.seed))}
        yield form, fitted, [places[source.name] for source in evidence], reports[config.name]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    manifest = read_json(folder / "manifest.json")
    stage = JudgeStageConfig.model_validate(manifest["config"])
    artifacts = folder.resolve().parent.parent
    inputs = {role: next(artifacts.glob(f"*/{key}")) for role, key in manifest["inputs"].items()}
    dataset, inner = (InteractionDataset.load(inputs[role]) for role in ("prepare", "inner"))
    config = stage.judge.model_copy(update={"popularity": True})
    judge = build_judge(config, inputs, dataset.n_items, RandomStreams(stage.seed))
    forms = list(fitted_forms(judge, stage, inner))
    remade = remade_evidence(inputs)
    sources = [remade.get(source.name, source) for source in judge.evidence]
    for source in sources:
        source.fit(dataset)
    found = defaultdict(list)
    for users in np.array_split(np.flatnonzero(dataset.valid.degrees), max(1, dataset.n_users // 512)):
        evidence = [source.scores(users) for source in sources]
        held = np.zeros(evidence[0].shape, dtype=bool)
        held[dataset.valid.cells(users)] = True
        train, counts = dataset.train.cells(users), dataset.train.degrees[users]
        for n, (_, fitted, places, _) in enumerate(forms):
            scores = fitted._weighed(fitted.choice, [evidence[place] for place in places], counts)
            scores[train] = -np.inf
            best = np.argpartition(-scores, K, axis=1)[:, :K]
            best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1), axis=1)
            hits, n_relevant = np.take_along_axis(held, best, axis=1), held.sum(axis=1)
            found[n].append([recall(hits, n_relevant, K), ndcg(hits, n_relevant, K)])
    for n, (form, _, _, held_out) in enumerate(forms):
        means = np.concatenate(found[n], axis=1).mean(axis=1).round(4).tolist()
        print(json.dumps({**form, "held out": round(held_out, 4), "valid": means}), flush=True)


if __name__ == "__main__":
    main()
