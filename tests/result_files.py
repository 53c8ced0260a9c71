"""Small synthetic result files of a whole run, in the formats that the stages write."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from hnlmrec.data.embeddings import EmbeddingTable, HardNegativeTable
from hnlmrec.data.interactions import InteractionDataset, Interactions, Vocabulary
from hnlmrec.evaluation.files import UserValues, write_evaluation
from hnlmrec.reporting import Experiment, ReportInputs

OUTCOMES = ("catalogue", "catalogue", "observed", "copied_positive", "off_catalogue")
METRICS = ("recall", "ndcg", "precision", "hit_rate", "mrr", "map")


def dataset_of(n_users, n_items, rng, first_user="1"):
    weights = 1 / np.arange(1, n_items + 1) ** 0.8
    keys = {(u, int(i)) for u in range(n_users) for i in rng.choice(n_items, 24, False, weights / weights.sum())}
    pairs = np.array(sorted(keys))
    part = rng.choice(3, len(pairs), p=[0.8, 0.1, 0.1])
    splits = (Interactions.from_pairs(*pairs[part == n].T, n_users, n_items) for n in range(3))
    users = Vocabulary([first_user, *(str(n + 1) for n in range(1, n_users))], "user")
    return InteractionDataset(users, Vocabulary((f"i{n}" for n in range(n_items)), "item"), *splits)


def write_prepare(folder, dataset, titles):
    folder.mkdir(parents=True)
    pl.DataFrame({"item_id": list(dataset.items.all_ids), "title": titles}).write_parquet(folder / "items.parquet")
    dataset.save(folder)
    spread = {"min": 3, "mean": 24.0, "median": 20.0, "max": 180}
    statistics = {**dataset.counts(), "density": 0.08, "user_degree": spread, "item_degree": spread}
    statistics |= {"text": {"items_with_title": 0.99, "train_reviews": 0}, "warnings": ["2 lines are <b>odd</b>"]}
    (folder / "statistics.json").write_text(json.dumps(statistics))


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_text_side(root, dataset, titles, rng, hostile):
    items = dataset.items.all_ids
    write_lines(
        root / "profiles/item_profiles.jsonl",
        [
            {"item_id": i, "summarization": f"A film about {hostile}, for people who like {t}.", "reasoning": "r"}
            for i, t in zip(items, titles, strict=True)
        ],
    )
    write_lines(
        root / "profiles/user_profiles.jsonl",
        [
            {"user_id": u, "summarization": f"Likes dramas {hostile}.", "reasoning": ""}
            for u in dataset.users.all_ids
        ],
    )
    failure = {"item_id": "i3", "error": "ReplyError", "message": f"not JSON: {hostile}", "reply": f"{hostile}{{"}
    write_lines(root / "profiles/failures.jsonl", [failure, {**failure, "item_id": "i4"}])
    rows = []
    for user in range(0, dataset.n_users, 2):
        for rank, positive in enumerate(dataset.train.of(user)[:5].tolist()):
            outcome = OUTCOMES[(user // 2 + rank) % len(OUTCOMES)]
            item = {
                "catalogue": (positive + 7) % dataset.n_items,
                "observed": positive,
                "copied_positive": positive,
            }
            number = item.get(outcome)
            rows.append(
                {
                    "user_id": dataset.users.all_ids[user],
                    "positive_id": items[positive],
                    "rank": 0,
                    "name": titles[number] if number is not None else f"A film that is not there {hostile}",
                    "reasoning": f"Near in theme, far in tone {hostile}.",
                    "item_id": items[number] if number is not None else None,
                    "outcome": outcome,
                    "match_score": 0.9,
                }
            )
    write_lines(root / "hard_negatives/hard_negatives.jsonl", rows)
    counts = {name: sum(row["outcome"] == name for row in rows) for name in set(OUTCOMES)}
    (root / "hard_negatives/grounding.json").write_text(json.dumps(counts))
    vectors = rng.standard_normal((dataset.n_items, 3)) @ rng.standard_normal((3, 16))
    EmbeddingTable(dataset.items, vectors.astype(np.float32)).save(root / "encode", "items")
    kept = [row for row in rows if row["outcome"] in ("catalogue", "off_catalogue")]
    numbers = [-1 if row["item_id"] is None else int(dataset.items.numbers([row["item_id"]])[0]) for row in kept]
    HardNegativeTable(
        dataset.users.numbers([row["user_id"] for row in kept]),
        dataset.items.numbers([row["positive_id"] for row in kept]),
        (vectors[numbers] + 0.3 * rng.standard_normal((len(kept), 16))).astype(np.float16),
        dataset.n_items,
        numbers,
    ).save(root / "negatives", dataset)


def write_result(folder, rng, base, gain, rate=None):
    values = {}
    for place, name in enumerate(METRICS):
        for k in (10, 20):
            noise = 0.02 * rng.standard_normal(len(base))
            values[f"{name}@{k}"] = np.clip(base * (1 - 0.1 * place) * (k / 20) ** 0.5 + gain + noise, 0, 1)
    whole = {
        f"{name}@{k}": value for k in (10, 20) for name, value in (("coverage", 0.4), ("arp", 61.5), ("gini", 0.7))
    }
    means = {name: float(column.mean()) for name, column in values.items()} | whole
    write_evaluation(folder, {"test": UserValues(np.arange(len(base)), values, means)}, rate)


def write_drawn(folder, dataset, *, rng, gain, rate, generated):
    """Two epochs of draws outside train, of which a share `rate` are held-out positives; no items for rate 0."""
    n = 600
    users = rng.integers(dataset.n_users, size=n)
    negatives = np.full(n, -1)
    if rate:
        for place, user in enumerate(users):
            held_out = np.concatenate([dataset.valid.of(user), dataset.test.of(user)])
            known = np.concatenate([dataset.train.of(user), held_out])
            is_false = len(held_out) and rng.random() < rate
            pool = held_out if is_false else np.setdiff1d(np.arange(dataset.n_items), known)
            negatives[place] = rng.choice(pool)
    pl.DataFrame(
        {
            "epoch": np.repeat([1, 20], n // 2).astype(np.int32),
            "user": users.astype(np.int32),
            "positive": np.array([dataset.train.of(user)[0] for user in users], dtype=np.int32),
            "negative": negatives.astype(np.int32),
            "generated": (rng.permutation(negatives) if generated else np.full(n, -1)).astype(np.int32),
            "share": np.full(n, 0.1 if generated else 0.0, dtype=np.float32),
            "positive_score": rng.normal(2.5, 1, n).astype(np.float32),
            "negative_score": rng.normal(30 * gain, 1, n).astype(np.float32),
        }
    ).write_parquet(folder / "drawn.parquet")


def write_experiment(root, label, gain, *, dataset, rng, base, select_on, fhns):
    train = root / "train" / label
    epochs = range(2, 41, 2)
    split = "test" if select_on == "test" else "valid"
    curve = [(1 - np.exp(-e / 8)) * (0.15 + gain) + 0.002 * rng.standard_normal() for e in epochs]
    write_lines(
        train / "metrics.jsonl",
        [
            {"epoch": e, "loss": 1 / e, "losses": {}, split: {"recall@20": y, "ndcg@20": y / 2}, "sampler": {}}
            for e, y in zip(epochs, curve, strict=True)
        ],
    )
    training = {"best_epoch": 38, "epochs": 40, "select_on": select_on, "sampler": {}}
    (train / "training.json").write_text(
        json.dumps(training | {"seconds": {"train_per_epoch": 0.41, "total": 17.0}})
    )
    write_drawn(train, dataset, rng=rng, gain=gain, rate=30 * fhns, generated=label.startswith("semantic"))
    for name, ids in (("users", dataset.users), ("items", dataset.items)):
        EmbeddingTable(ids, rng.standard_normal((len(ids), 8)).astype(np.float32)).save(train, name)
    rate = {"drawn": fhns, "uniform": 0.002, "ratio": fhns / 0.002, "pairs": 600}
    if not fhns:  # the negatives stand for no item
        rate = {"drawn": None, "uniform": None, "ratio": None, "pairs": 0}
    write_result(root / "evaluate" / label, rng, base, gain, rate)
    return train, root / "evaluate" / label


def report_inputs(
    root: Path, *, hostile: str = "", select_on: str = "valid", seed: int = 0, first_user: str = "1"
) -> ReportInputs:
    """Write every file below `root`; `hostile` is put into titles and into all that an LLM wrote."""
    rng = np.random.default_rng(seed)
    dataset = dataset_of(60, 150, rng, first_user)
    titles = [f"{hostile}The Film of Many Words & Days {n} (19{50 + n % 50})" for n in range(dataset.n_items)]
    write_prepare(root / "prepare", dataset, titles)
    write_text_side(root, dataset, titles, rng, hostile)
    base = rng.beta(1, 5, dataset.n_users)
    samplers = [("uniform", 0.0, 0.002), ("dns", 0.02, 0.008), ("semantic", 0.025, 0.005), ("noise", 0.001, 0)]
    experiments = []
    for initialisation, bonus in (("random", 0.0), ("semantic", 0.03)):
        for sampler, gain, fhns in samplers:
            label = f"{sampler}+{initialisation}"
            folders = write_experiment(
                root, label, gain + bonus, dataset=dataset, rng=rng, base=base, select_on=select_on, fhns=fhns
            )
            experiments.append(Experiment(label, sampler, initialisation, *folders))
    baselines = []
    for label, gain in (("popularity", -0.05), ("item_knn", 0.01), ("ease", 0.03), ("ease_text", 0.08)):
        write_result(root / "recommender" / label, rng, base, gain)
        baselines.append((label, root / "recommender" / label))
    llm = {"requests": 310, "cache_hits": 12, "prompt_tokens": 91234, "completion_tokens": 20345, "failed": 2}
    stages = [
        {"stage": "prepare", "key": "0" * 16, "seconds": 1.2, "reused": True, "counts": dataset.counts()},
        {
            "stage": "profiles",
            "key": "1" * 16,
            "seconds": 91.5,
            "reused": False,
            "counts": llm | {"succeeded": 320},
        },
        {
            "stage": "hard_negatives",
            "key": "2" * 16,
            "seconds": 75,
            "reused": False,
            "counts": llm | {"succeeded": 120},
        },
    ]
    return ReportInputs(
        name=f"ml-100k demo {hostile}",
        config={"seed": 7, "model": {"name": "lightgcn"}, "note": hostile},
        stages=stages,
        prepare=root / "prepare",
        profiles=root / "profiles",
        hard_negatives=root / "hard_negatives",
        encode=root / "encode",
        experiments=tuple(experiments),
        baselines=tuple(baselines),
        negatives=root / "negatives",
    )
