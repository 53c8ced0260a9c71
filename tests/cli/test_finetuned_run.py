"""The whole of HNLMRec on a small data set: pretrain, triplets, fine-tuning, vectors, judge, training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Outcome
from tests.unit.finetuning_world import tiny_model

from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.judgements import JudgementTable
from hnlmrec.data.tables import read_json

Cli = Callable[..., Outcome]
CONFIG = """
name = "tuned"
negatives = "finetuned"
[data]
source = "{source}"
[encoder]
name = "hashing"
[model]
embedding_size = 8
[sampler]
name = "hnlmrec"
n_candidates = 4
risk_penalty = 0.5
[pretrain.model]
name = "lightgcn"
embedding_size = 8
[pretrain.training]
epochs = 2
batch_size = 64
select_by = "recall@5"
[finetuning]
holdout = 0.2
[finetuning.encoder]
base_model = "{model}"
lora_rank = 2
[finetuning.training]
epochs = 1
batch_size = 4
preference_share = 0.5
[finetuning.vectors]
granularity = "k_per_user"
k = 2
[finetuning.triplets]
rank_from = 0
rank_to = 10
[judge]
name = "llm"
holdout = 0.2
regularization = 5.0
hard_candidates = 5
uniform_candidates = 5
top = 10
[training]
epochs = 3
batch_size = 64
select_by = "recall@5"
recognised_share = 0.3
recognised_per_user = 3
[evaluation]
ks = [5, 10]
[compare]
initialisations = ["random", "finetuned"]
"""


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tuned.toml"
    path.write_text(CONFIG.format(source=data, model=tiny_model(tmp_path / "model")))
    return path


def test_from_interactions_to_a_system_that_the_llm_has_taught(cli: Cli, config: Path) -> None:
    first = cli("run", config, "--json")
    assert first.status == 0, first.stderr
    result = first.json
    stages = {stage["label"]: stage for stage in result["stages"]}
    assert result["llm"]["requests"] == 0
    assert result["experiments"][0]["sampler_counts"]["missing"] == 0
    assert len(result["experiments"]) == 2
    assert result["recommenders"][-1]["name"] == "judge"
    assert stages["finetune"]["counts"]["steps"] > 0
    assert stages["vectors"]["counts"]["hard_negatives"] == 2 * result["dataset"]["users"]
    paths = {label: Path(stage["path"]) for label, stage in stages.items()}
    names = [judge["name"] for judge in read_json(paths["judge"] / "calibration.json")["judges"]]
    assert {"ease_text", "llm", "llm alone", "cf alone"} <= set(names)
    second = cli("run", config, "--json").json
    assert all(stage["reused"] for stage in second["stages"])
    assert second["metrics"] == result["metrics"]


def test_another_training_seed_pays_for_the_training_alone(cli: Cli, config: Path) -> None:
    assert cli("run", config, "compare.initialisations=[]", "--until", "evaluate").status == 0
    again = cli(
        "run", config, "compare.initialisations=[]", "training_seed=7", "--until", "evaluate", "--json"
    ).json
    made = {stage["label"] for stage in again["stages"] if not stage["reused"]}
    assert made == {"train/hnlmrec+random", "evaluate/hnlmrec+random"}


def test_the_share_of_recognised_positives_follows_from_the_data(cli: Cli, config: Path) -> None:
    share = "training.recognised_share=auto"
    only = ("compare.initialisations=[]", "--until", "train")
    result = cli("run", config, share, "judge.name=behaviour", *only, "--json").json
    stages = {stage["label"]: stage for stage in result["stages"]}
    train = next(stage for label, stage in stages.items() if label.startswith("train/"))
    data = InteractionDataset.load(Path(stages["prepare"]["path"]))
    n_items = len(data.train) / (data.train.degrees > 0).sum()
    assert train["counts"]["recognised_share"] == pytest.approx(min(6 / (6 + n_items), 0.5), abs=5e-4)


def test_what_is_held_out_reaches_neither_signals_nor_triplets_nor_judge(cli: Cli, config: Path) -> None:
    paths = {
        stage["label"]: Path(stage["path"])
        for stage in cli("run", config, "--until", "judge", "--json").json["stages"]
    }
    whole = InteractionDataset.load(paths["prepare"])
    inner = InteractionDataset.load(paths["holdout/judge"])
    signals = InteractionDataset.load(paths["holdout/triplets"])
    for outer, part in ((whole, inner), (inner, signals)):
        assert outer.train.contains(part.train.users, part.train.indices).all()
        assert not part.train.contains(part.valid.users, part.valid.indices).any()
        assert not len(part.test)
        for split in ("valid", "test"):
            held = whole.split(split)  # type: ignore[arg-type]
            assert not part.train.contains(held.users, held.indices).any()
            assert not part.valid.contains(held.users, held.indices).any()
    table = JudgementTable.load(paths["judge"], whole)
    assert not whole.train.contains(table.users, table.items).any()


def test_the_judge_needs_no_language_model(cli: Cli, config: Path) -> None:
    options = ("judge.name=ease_text", "sampler={name='dns'}", "compare.initialisations=[]", "negatives=text")
    result = cli("run", config, *options, "--until", "evaluate", "--json")
    assert result.status == 0, result.stderr
    labels = {stage["label"] for stage in result.json["stages"]}
    assert "judge" in labels
    assert not labels & {"pretrain", "finetune", "vectors", "profiles"}


def test_the_judge_of_behaviour_reads_no_text(cli: Cli, config: Path) -> None:
    result = cli(
        "run", config, "judge.name=behaviour", "sampler={name='dns', risk_penalty=0.5}", "negatives=text",
        "initialisation=random", "compare.initialisations=[]", "compare.recommenders=[]",
        "--until", "evaluate", "--json",
    )  # fmt: skip
    assert result.status == 0, result.stderr
    stages = {stage["label"]: Path(stage["path"]) for stage in result.json["stages"]}
    assert {"judge", "pretrain"} <= set(stages)
    assert not any(label.startswith(("encode", "finetune", "vectors")) for label in stages)
    judges = [judge["name"] for judge in read_json(stages["judge"] / "calibration.json")["judges"]]
    assert judges == ["behaviour", "ease alone", "cf alone"]


def test_the_judge_can_have_a_cf_model_of_its_own_from_texts(cli: Cli, config: Path) -> None:
    options = ("judge.cf=retrained", "training.order_weight=1.0", "training.recognised_share=0")
    result = cli("run", config, *options, "compare.initialisations=[]", "--until", "train", "--json")
    assert result.status == 0, result.stderr
    stages = {stage["label"]: stage for stage in result.json["stages"]}
    inner, train = (stages[f"pretrain/{part}"] for part in ("inner", "train"))
    configs = [read_json(Path(stage["path"]) / "manifest.json") for stage in (inner, train)]
    assert [made["config"]["initialisation"] for made in configs] == ["semantic"] * 2
    keys = [Path(stages[label]["path"]).name for label in ("holdout/judge", "prepare")]
    assert [made["inputs"]["prepare"] for made in configs] == keys
    first, again = (read_json(Path(stage["path"]) / "training.json") for stage in (inner, train))
    assert again["epochs"] == first["best_epoch"]
    records = (Path(train["path"]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in records] == [again["epochs"]], "validation has chosen an epoch"
    read = read_json(Path(stages["judge"]["path"]) / "manifest.json")["inputs"]
    assert [read["pretrain"], read["remade"]] == [Path(stage["path"]).name for stage in (inner, train)]
    metrics = Path(stages["train/hnlmrec+random"]["path"]) / "metrics.jsonl"
    losses = json.loads(metrics.read_text(encoding="utf-8").splitlines()[-1])["losses"]
    assert losses["order"] > 0


def test_noise_takes_the_place_of_what_the_language_models_say_to_the_judge(cli: Cli, config: Path) -> None:
    calibrations = []
    for options in ([], ["judge.noise=true"]):
        result = cli("run", config, *options, "--until", "judge", "--json")
        assert result.status == 0, result.stderr
        stages = {stage["label"]: Path(stage["path"]) for stage in result.json["stages"]}
        judges = read_json(stages["judge"] / "calibration.json")["judges"]
        calibrations.append({judge.pop("name"): judge for judge in judges})
    real, noise = calibrations
    assert list(real) == list(noise), "there must be as much evidence"
    changed = {name for name in real if real[name] != noise[name]}
    assert changed == {"llm", "llm alone"}


def test_a_catalogue_too_large_for_square_matrices_runs_without_them(cli: Cli, config: Path) -> None:
    options = (
        "sampler={name='dns', risk_penalty=0.5}", "negatives=text", "compare.initialisations=[]",
        "judge={name='ease_text', memory_limit_gib=1e-9}",
        "compare.recommenders=[{name='ease', memory_limit_gib=1e-9}, {name='item_knn'}]",
    )  # fmt: skip
    done = cli("run", config, *options, "--json")
    assert done.status == 0, done.stderr
    assert "ItemKNN's score in place of EASE's" in done.stderr
    assert "recommender/ease is left out: EASE on" in done.stderr
    assert list(done.json["left_out"]) == ["recommender/ease"]
    assert [row["name"] for row in done.json["recommenders"]] == ["item_knn", "judge"]
    stages = {stage["label"]: Path(stage["path"]) for stage in done.json["stages"]}
    judges = [judge["name"] for judge in read_json(stages["judge"] / "calibration.json")["judges"]]
    assert judges == ["ease_text", "item_knn alone", "text alone"]
    assert "recommender/ease was left out" in Path(done.json["report"]).read_text(encoding="utf-8")


@pytest.fixture
def other(data: Path) -> Path:
    """Another data set: a part of the users, under other names, and fewer items a user."""
    folder = data.with_name("others")
    folder.mkdir()
    head, *rows = (data / "interactions.csv").read_text().splitlines()
    kept = [f"v{row[1:]}" for place, row in enumerate(rows) if place % 9 < 6 and place < 180]
    (folder / "interactions.csv").write_text("\n".join([head, *kept]) + "\n")
    (folder / "items.jsonl").write_text((data / "items.jsonl").read_text())
    return folder


def test_an_encoder_tuned_on_another_data_set_writes_the_vectors(cli: Cli, config: Path, other: Path) -> None:
    options = ("compare.initialisations=[]", "--until", "vectors", "--json")
    own = cli("run", config, f"data.source={other}", *options).json["stages"]
    tuned = {stage["label"]: stage for stage in own}["finetune"]
    outcome = cli("run", config, f"finetuning.transfer_from.source={other}", *options)
    assert outcome.status == 0, outcome.stderr
    stages = {stage["label"]: stage for stage in outcome.json["stages"]}
    assert stages["source/finetune"]["key"] == tuned["key"]
    assert stages["source/finetune"]["reused"]
    assert "finetune" not in stages
    adopted = cli("run", config, f"finetuning.adapter={tuned['path']}", *options)
    assert adopted.status == 0, adopted.stderr
    again = {stage["label"]: stage for stage in adopted.json["stages"]}
    assert not [label for label in again if "finetune" in label or "source" in label]
    for name in ("items.npy", "users.npy"):
        written = [(Path(found["vectors"]["path"]) / name).read_bytes() for found in (stages, again)]
        assert written[0] == written[1]


def test_an_encoder_that_does_not_fit_is_refused_before_anything_is_made(
    cli: Cli, config: Path, tmp_path: Path
) -> None:
    missing = cli("run", config, f"finetuning.adapter={tmp_path}")
    assert missing.status == 2
    assert "holds no encoder" in missing.stderr
    (tmp_path / "encoder.json").write_text('{"cf"')
    damaged = cli("run", config, f"finetuning.adapter={tmp_path}")
    assert damaged.status == 2
    assert "encoder.json is damaged" in damaged.stderr
    facts = {"settings": {}, "base_digest": "", "cf": {"size": 16, "user_scale": 1, "item_scale": 1}}
    (tmp_path / "encoder.json").write_text(json.dumps(facts))
    longer = cli("run", config, f"finetuning.adapter={tmp_path}")
    assert longer.status == 2
    assert "pretrain.model.embedding_size=16" in longer.stderr
    both = cli("run", config, f"finetuning.adapter={tmp_path}", "finetuning.transfer_from.source=x")
    assert both.status == 2
    assert "not both" in both.stderr
