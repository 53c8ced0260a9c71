"""`hnlmrec compare STUDY.toml`: the grid, shared stages, resume, failures, search, bad files."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import Outcome

from hnlmrec.artifacts import ArtifactStore, alone_in
from hnlmrec.errors import ConfigError
from hnlmrec.pipeline.config import RunConfig
from hnlmrec.pipeline.run import run_pipeline
from hnlmrec.pipeline.shipped import load_run_config
from hnlmrec.studies.files import load_study
from hnlmrec.studies.jobs import Plan

Cli = Callable[..., Outcome]
HEAD = """
[study]
name = "small"
seeds = [0, 1]
baseline = "uniform"
metrics = ["recall@5", "ndcg@5"]
[base]
model = { name = "mf", embedding_size = 4 }
training = { epochs = 2, batch_size = 128, select_by = "recall@5" }
evaluation = { ks = [5], metrics = ["recall", "ndcg"] }
encoder = { name = "hashing" }
[[datasets]]
label = "films"
set = ["data.source=SOURCE"]
"""
VARIANTS = """
[[variants]]
label = "uniform"
[[variants]]
label = "dns"
set = ["sampler.n_candidates=4"]
[[variants]]
label = "knn"
recommender = "item_knn"
"""
VARIED = VARIANTS + '[[vary]]\nkey = "sampler.n_negatives"\nlabel = "K"\nvalues = [1, 3]\nvariants = ["dns"]\n'


@pytest.fixture
def write(tmp_path: Path, data: Path) -> Callable[..., Path]:
    def write_study(body: str = VARIANTS, head: str = HEAD) -> Path:
        path = tmp_path / "small.toml"
        path.write_text(head.replace("SOURCE", str(data)) + body)
        return path

    return write_study


def results(folder: str = "runs/small") -> pl.DataFrame:
    return pl.read_parquet(Path(folder) / "results.parquet")


def made(stage: str) -> set[str]:
    return (
        {path.name for path in Path("artifacts", stage).iterdir()} if Path("artifacts", stage).exists() else set()
    )


@pytest.mark.usefixtures("undrawn")
def test_the_grid_is_run_once_and_found_again(cli: Cli, write: Callable[..., Path]) -> None:
    study = write()
    first = cli("compare", study, "study.initialisations=['random','semantic']", "--json")
    assert first.status == 0, first.stderr
    assert (first.json["cells"], first.json["done"], first.json["failed"]) == (9, 9, [])
    assert {stage: len(made(stage)) for stage in ("prepare", "encode", "train", "evaluate", "recommender")} == {
        "prepare": 1,
        "encode": 1,
        "train": 8,
        "evaluate": 8,
        "recommender": 1,
    }
    frame = results()
    assert frame.select("variant", "initialisation", "seed").rows() == [
        *[("uniform", start, seed) for start in ("random", "semantic") for seed in (0, 1)],
        *[("dns", start, seed) for start in ("random", "semantic") for seed in (0, 1)],
        ("knn", "none", None),
    ]
    assert frame["test/recall@5"].is_between(0, 1).all()
    assert frame["config"].n_unique() == 9
    assert frame.filter(variant="dns")["fhns_ratio"].null_count() == 0
    before = {path: path.stat().st_mtime_ns for path in Path("artifacts").rglob("manifest.json")}
    again = cli("compare", study, "study.initialisations=['random','semantic']")
    assert again.status == 0
    assert "9 of 9 runs" in again.stdout
    assert results().equals(frame)
    assert {path: path.stat().st_mtime_ns for path in Path("artifacts").rglob("manifest.json")} == before


def test_what_it_leaves_behind(cli: Cli, write: Callable[..., Path]) -> None:
    outcome = cli("compare", write(VARIED))
    assert outcome.status == 0, outcome.stderr
    folder = Path("runs/small")
    users = pl.read_parquet(folder / "per_user.parquet")
    assert users.filter(variant="uniform", seed=0)["user_id"].n_unique() == 30
    means = users.filter(variant="uniform", seed=0).select("recall@5", "ndcg@5").mean().row(0)
    row = results().filter(variant="uniform", seed=0)
    assert means == pytest.approx((row["test/recall@5"][0], row["test/ndcg@5"][0]), abs=1e-6)
    curves = pl.read_parquet(folder / "curves.parquet")
    assert set(curves["metric"]) == {"recall@5", "ndcg@5"}
    assert curves.filter(variant="dns", seed=1, value="3", metric="recall@5")["epoch"].to_list() == [1, 2]
    tests = pl.read_parquet(folder / "tests.parquet")
    assert set(tests.filter(over="users")["test"]) == {"t", "wilcoxon", "bootstrap"}
    assert tests.filter(over="seeds")["n"].unique().to_list() == [2]
    assert "**" in (folder / "tables.md").read_text()
    assert r"\textbf" in (folder / "tables.tex").read_text()
    page = (folder / "study.html").read_text()
    assert page.count("<svg") == page.count("<figure") == 8
    groups = pl.read_parquet(folder / "groups.parquet")
    assert set(groups["kind"]) == {"users", "items"}
    assert set(groups["variant"]) == {"uniform", "dns", "knn"}
    kept = users.filter(variant="dns", seed=0, value="")
    hits, wanted = (kept.select(pl.sum_horizontal(f"^{name}_.$").sum()).item() for name in ("hits", "test_items"))
    assert wanted == 30  # one of each user's nine items
    assert kept["recall@5"].mean() == pytest.approx(hits / wanted)
    assert set(pl.read_parquet(folder / "reach.parquet").select("variant", "seed").unique().rows()) == {
        (variant, seed) for variant in ("uniform", "dns") for seed in (0, 1)
    }
    assert "<script" not in page
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert {"films-mf-random-K.png", "films-mf-recall-5.svg", "films-mf-random-seconds.png"} <= pictures
    assert results().select("variant", "family").unique().sort("variant").rows() == [
        ("dns", "classic"),
        ("knn", "untrained"),
        ("uniform", "classic"),
    ]
    same = results().filter((pl.col("variant") == "dns") & (pl.col("value").is_in(["", "1"])))
    assert same.filter(seed=0)["key"].n_unique() == 1  # one negative is the default: nothing is run twice


@pytest.mark.usefixtures("undrawn")
def test_what_only_served_to_make_what_is_there_is_not_made_again(cli: Cli, write: Callable[..., Path]) -> None:
    options = ("study.initialisations=['semantic']", "select.variants=['dns']")
    assert cli("compare", write(), *options).status == 0
    before = results()
    shutil.rmtree("artifacts/encode")
    assert cli("compare", write(), *options).status == 0
    assert not made("encode")
    assert results().equals(before)
    shutil.rmtree("artifacts/evaluate")
    assert cli("compare", write(), *options).status == 0  # from the trained tables, whose start is gone
    assert not made("encode")
    assert results().equals(before)
    assert cli("compare", write(), *options, "study.seeds=[0,1,2]").status == 0
    assert len(made("encode")) == 1
    assert results().height == 3


@pytest.mark.usefixtures("undrawn")
def test_its_results_are_published_by_one_command(cli: Cli, write: Callable[..., Path]) -> None:
    assert cli("compare", write(), "study.seeds=[0]", "study.title=Small things").status == 0
    outcome = cli("results", "runs/small", "--into", "kept", "--page", "pages/results.md")
    assert (outcome.status, outcome.stdout.strip()) == (0, "pages/results.md"), outcome.stderr
    assert "[Small things](results/small.md)" in Path("pages/results.md").read_text()
    text = Path("pages/results/small.md").read_text()
    assert text.startswith("# Small things\n")
    assert "`study.seeds=[0]`; `study.title=Small things`" in text
    assert str(Path.cwd().parent) not in text + Path("kept/small/study.json").read_text()
    missing = cli("results", "runs/none", "--into", "kept", "--page", "pages/results.md")
    assert missing.status == 2
    assert "holds no finished study" in missing.stderr


@pytest.mark.usefixtures("undrawn")
def test_tables_of_an_earlier_call_are_not_published_once_a_later_one_writes_over_them(
    cli: Cli, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    assert cli("compare", write(), "study.seeds=[0]").status == 0
    with monkeypatch.context() as patch:
        patch.setattr("hnlmrec.studies.run._run_grid", killed)
        assert cli("compare", write()).status == 130
    outcome = cli("results", "runs/small", "--into", "kept", "--page", "pages/results.md")
    assert outcome.status == 2
    assert "study.json is missing" in outcome.stderr
    assert cli("compare", write(), "study.seeds=[0]").status == 0
    assert cli("results", "runs/small", "--into", "kept", "--page", "pages/results.md").status == 0


ADJUST = """
[[adjust]]
datasets = ["films"]
variants = ["dns"]
set = ["sampler.n_candidates=2"]
[[adjust]]
models = ["lightgcn"]
set = ["training.epochs=1"]
[[models]]
label = "mf"
[[models]]
label = "lightgcn"
[[datasets]]
label = "others"
set = ["data.source=SOURCE"]
"""


def test_settings_of_a_method_on_one_data_set_alone(write: Callable[..., Path], data: Path) -> None:
    graphs_alone = VARIANTS.replace('label = "uniform"', 'label = "uniform"\nmodels = ["lightgcn"]')
    study = load_study(str(write(graphs_alone + ADJUST.replace("SOURCE", str(data)))))
    found = {(c.place.dataset, c.place.model, c.place.variant): c.config for c in study.grid.cells()}
    candidates = {place: config.sampler.n_candidates for place, config in found.items() if place[2] == "dns"}
    assert {places: n for places, n in candidates.items() if places[1] == "mf"} == {
        ("films", "mf", "dns"): 2,
        ("others", "mf", "dns"): 4,
    }
    assert {place[1]: config.training.epochs for place, config in found.items()} == {"mf": 2, "lightgcn": 1}
    assert {places[1] for places in found if places[2] == "uniform"} == {"lightgcn"}
    with pytest.raises(ConfigError, match="unknown variant of the study 'dsn'"):
        load_study(str(write(VARIANTS + ADJUST.replace("SOURCE", str(data)).replace('["dns"]', '["dsn"]'))))


SHARED = """
[shared]
few = ["sampler.n_candidates=2", "training.epochs=3"]
long = ["training.epochs=4"]
"""


def test_settings_that_several_variants_share_come_before_their_own(write: Callable[..., Path]) -> None:
    body = VARIANTS.replace('label = "dns"', 'label = "dns"\nshared = ["few", "long"]')
    study = write(SHARED + body)
    configs = {cell.place.variant: cell.config for cell in load_study(str(study)).grid.cells()}
    assert configs["dns"].sampler.n_candidates == 4  # its own
    assert configs["dns"].training.epochs == 4  # the last of the shared
    assert configs["uniform"].training.epochs == 2
    changed = load_study(str(study), ['shared.long=["training.epochs=5"]'])
    assert {c.config.training.epochs for c in changed.grid.cells() if c.place.variant == "dns"} == {5}
    with pytest.raises(ConfigError, match=r"\[shared\] has no many\. Known here: few, long"):
        load_study(str(write(SHARED + body.replace('"few"', '"many"'))))
    with pytest.raises(ConfigError, match=r"shared\.few\.0") as error:
        load_study(str(write(SHARED.replace("sampler.n_candidates=2", "2") + body)))
    assert "has no" not in str(error.value)  # the variants that name it are right


def test_the_place_of_a_data_set_that_the_study_has_not(cli: Cli, write: Callable[..., Path]) -> None:
    outcome = cli("compare", write(), "data.movies=somewhere")
    assert outcome.status == 2
    assert "the study has no data set 'movies'. Known here: films" in outcome.stderr


@pytest.mark.usefixtures("undrawn")
def test_a_second_call_on_the_same_study_waits_for_nothing_and_touches_nothing(
    cli: Cli, write: Callable[..., Path]
) -> None:
    study = write()
    with alone_in(Path("runs/small"), "the study 'small'"):  # as another call holds it while it works
        refused = cli("compare", study, "--json")
        other = cli("compare", study, "study.name=other", "select.variants=['knn']", "--json")
    assert refused.status == 2
    assert "the study 'small' is under way in runs/small by another process" in refused.stderr
    assert not Path("runs/small/results.parquet").exists()
    assert (other.status, other.json["done"]) == (0, 1)
    assert cli("compare", study, "select.variants=['knn']").status == 0


@pytest.mark.usefixtures("undrawn")
def test_a_failing_cell_costs_itself_and_the_exit_status(cli: Cli, write: Callable[..., Path]) -> None:
    bad = '[[variants]]\nlabel = "broken"\nsampler = "file"\nset = ["sampler.path=nonsense.csv"]\n'
    Path("nonsense.csv").write_text("a,b\n1,2\n")
    outcome = cli("compare", write(VARIANTS + bad), "--json")
    assert outcome.status == 1
    assert [failure["cell"] for failure in outcome.json["failed"]] == [
        f"films mf broken+random seed {seed}" for seed in (0, 1)
    ]
    assert "DataError" in outcome.json["failed"][0]["error"]
    assert len(results()) == outcome.json["done"] == 5


def test_every_variant_starts_from_the_same_texts_also_where_one_alone_writes_profiles(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    body = """
[[variants]]
label = "semantic"
[[variants]]
label = "dns"
[[variants]]
label = "ease_text"
recommender = "ease_text"
[[variants]]
label = "judge"
recommender = "judge"
"""
    options = [
        "study.initialisations=['semantic']",
        "study.baseline=dns",
        "llm.provider=openai",
        "llm.model=any",
        "llm.base_url=http://a/v1",
    ]
    plan = Plan(ArtifactStore(tmp_path / "artifacts"))
    for cell in load_study(str(write(body)), options).grid.cells():
        plan.add(cell)
    texts = {nodes["encode/texts"] for nodes in plan.nodes.values()}
    assert len(texts) == 1
    assert all("profiles" in nodes for nodes in plan.nodes.values())
    assert {job.kind[0] for job in plan.jobs.values()} >= {"judge", "recommender", "hard_negatives"}


@pytest.mark.parametrize(("options", "values"), [((), ["", "1", "3"]), (("select.values={K=[3]}",), ["", "3"])])
def test_some_of_the_varied_values_can_be_selected(
    write: Callable[..., Path], options: tuple[str, ...], values: list[str]
) -> None:
    cells = load_study(str(write(VARIED)), ["study.seeds=[0]", *options]).grid.cells()
    assert [cell.place.value for cell in cells if cell.place.variant == "dns"] == values


@pytest.mark.parametrize(("share", "n_models"), [("0.0", 1), ("0.5", 2)])
def test_how_recognised_positives_are_drawn_tells_models_apart_only_where_some_are(
    write: Callable[..., Path], tmp_path: Path, share: str, n_models: int
) -> None:
    variants = [
        f'[[variants]]\nlabel = "{evenness}"\nsampler = "uniform"\n'
        f'set = ["training.recognised_share={share}", "training.recognised_evenness={evenness}"]\n'
        for evenness in (0.0, 0.5)
    ]
    plan = Plan(ArtifactStore(tmp_path / "artifacts"))
    options = ["study.seeds=[0]", "study.baseline='0.0'", "study.initialisations=['random']"]
    for cell in load_study(str(write("".join(variants))), options).grid.cells():
        plan.add(cell)
    assert [job.kind[0] for job in plan.jobs.values()].count("train") == n_models


@pytest.mark.usefixtures("undrawn")
def test_a_seed_varies_the_training_or_everything(cli: Cli, write: Callable[..., Path]) -> None:
    assert cli("compare", write(), "study.vary=all").status == 0
    assert len(made("prepare")) == len(made("recommender")) == 2
    assert results().filter(variant="knn")["seed"].to_list() == [0, 1]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_two_processes_give_the_same_results(cli: Cli, write: Callable[..., Path]) -> None:
    assert cli("compare", write()).status == 0
    options = ("resources.processes=2", "resources.memory_gib=4", "runtime.artifacts=others", "study.name=beside")
    outcome = cli("compare", write(), *options, "resources.threads_per_process=1")
    assert outcome.status == 0, outcome.stderr
    columns = ["variant", "seed", "test/recall@5", "test/ndcg@5", "best_epoch"]
    assert results("runs/beside").select(columns).equals(results().select(columns))


SEARCH = '[search]\ntrials = 3\nset = ["training.epochs=1"]\nfixed = ["training.loss"]\n'


@pytest.mark.usefixtures("undrawn")
def test_the_search_spends_the_same_on_every_variant_and_its_best_is_used(
    cli: Cli, write: Callable[..., Path]
) -> None:
    pytest.importorskip("optuna")
    assert cli("compare", write(VARIANTS + SEARCH)).status == 0
    trials = pl.read_parquet("runs/small/search/trials.parquet")
    assert dict(trials.group_by("arm").len().rows()) == dict.fromkeys(
        ("films mf uniform+random", "films mf dns+random", "films mf knn"), 3
    )
    assert results().height == 5  # a row a cell, once
    arm = trials.filter(arm="films mf dns+random").sort("value", "trial", descending=[True, False])
    best = json.loads(arm["settings"][0])
    assert set(best) == {"training.learning_rate", "training.regularization"}  # n_candidates is set on purpose
    chosen = load_run_config(Path("runs/small/search/films-mf-dns-random.toml"))
    assert chosen.training.learning_rate == best["training.learning_rate"]
    assert chosen.training.epochs == 2  # the cheaper budget was that of the trials alone
    key = results().filter(variant="dns", seed=1)["key"][0]
    rerun = run_pipeline(
        RunConfig.model_validate(chosen.model_copy(update={"training_seed": 1})), until="evaluate"
    )
    assert key in {stage["key"] for stage in rerun["stages"]}
    assert cli("compare", write(VARIANTS + SEARCH)).status == 0
    assert pl.read_parquet("runs/small/search/trials.parquet").equals(trials)


@pytest.mark.usefixtures("undrawn")
def test_a_space_of_fewer_points_than_trials_is_gone_through(cli: Cli, write: Callable[..., Path]) -> None:
    pytest.importorskip("optuna")
    fixed = 'fixed = ["training.loss", "training.regularization", "training.learning_rate"]\n'
    search = (
        f'[search]\ntrials = 5\n{fixed}[search.space]\n"training.batch_size" = {{ choices = [16, 64, 256] }}\n'
    )
    assert cli("compare", write(VARIANTS + search), 'select.variants=["uniform","dns"]').status == 0
    trials = pl.read_parquet("runs/small/search/trials.parquet")
    for (arm,), tried in trials.group_by("arm"):
        sizes = [json.loads(settings)["training.batch_size"] for settings in tried.sort("trial")["settings"]]
        assert sorted(sizes) == [16, 64, 256], arm
        assert set(tried["state"]) == {"COMPLETE"}


@pytest.mark.usefixtures("undrawn")
def test_a_poisoned_test_split_changes_nothing_in_the_search(
    cli: Cli, write: Callable[..., Path], data: Path
) -> None:
    pytest.importorskip("optuna")
    frame = pl.read_csv(data / "interactions.csv").with_row_index()
    found = []
    for shift in (0, 1):
        place = pl.col("index") % 9
        split = (
            pl.when(place == 8)
            .then(pl.lit("test"))
            .when(place == 7)
            .then(pl.lit("valid"))
            .otherwise(pl.lit("train"))
        )
        given = frame.with_columns(split=split).drop("index")
        moved = pl.col("item_id").shift(9 * shift).fill_null("i0")
        given = given.with_columns(item_id=pl.when(pl.col("split") == "test").then(moved).otherwise("item_id"))
        given.unique(["user_id", "item_id"], keep="first", maintain_order=True).write_csv(
            data / "interactions.csv"
        )
        outcome = cli(
            "compare", write(VARIANTS + SEARCH), f"study.name=poison{shift}", f"runtime.artifacts=a{shift}"
        )
        assert outcome.status == 0, outcome.stderr
        found.append(pl.read_parquet(f"runs/poison{shift}/search/trials.parquet"))
    assert found[0].equals(found[1])
    measured = [results(f"runs/poison{shift}")["test/recall@5"].to_list() for shift in (0, 1)]
    assert measured[0] != measured[1]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_cut_search_goes_on_as_if_undisturbed(cli: Cli, write: Callable[..., Path]) -> None:
    pytest.importorskip("optuna")
    options = ("runtime.artifacts=others", "study.name=whole", "search.trials=4")
    assert cli("compare", write(VARIANTS + SEARCH), *options).status == 0
    assert cli("compare", write(VARIANTS + SEARCH), "search.trials=2").status == 0
    assert cli("compare", write(VARIANTS + SEARCH), "search.trials=4").status == 0
    one, other = (pl.read_parquet(f"runs/{name}/search/trials.parquet") for name in ("whole", "small"))
    assert one.equals(other)


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        (VARIANTS + '[[variants]]\nlabel = "dns"\n', (), "variants: labels must differ.*dns"),
        (VARIANTS + '[[variants]]\nlabel = "dnss"\n', (), "did you mean 'dns'"),
        (
            VARIANTS + '[[variants]]\nlabel = "a"\nsampler = "dns"\nset = ["sampler.alpha=0.1"]\n',
            (),
            "sampler.dns.alpha: unknown key",
        ),
        (VARIANTS + '[[variants]]\nlabel = "a"\nrecommender = "easy"\n', (), "unknown recommender 'easy'"),
        (
            VARIANTS + '[[variants]]\nlabel = "a"\nsampler = "dns"\nrecommender = "ease"\n',
            (),
            "both a sampler and a recommender",
        ),
        (
            VARIANTS + '[[variants]]\nlabel = "x"\nsampler = "dns"\nset = ["recommender.x=1"]\n',
            (),
            "is for a recommender",
        ),
        (VARIANTS, ("study.seeds=[]",), "study.seeds"),
        (VARIANTS, ("study.seeds=[1,1]",), "study.seeds must differ"),
        (VARIANTS, ("study.baseline=best",), "unknown variant of the study 'best'"),
        (VARIANTS, ("study.metrics=['recall@7']",), "recall@7 is not measured by user"),
        (VARIANTS, ("study.metrics=['coverage@5']",), "coverage@5 is not measured by user"),
        (VARIANTS, ("select.variants=['none']",), "unknown variant of the study 'none'"),
        (VARIANTS, ("data.films=nowhere",), "no data set 'nowhere'"),
        (VARIANTS, ("nonsense",), "not of the form KEY=VALUE"),
        (VARIANTS, ("study.base=demo",), "give either study.base"),
        (VARIANTS, ("search.trials=1", "training.select_on=test"), "a search is on validation"),
        (VARIANTS + '[[vary]]\nkey = "sampler.n_candidates"\nvalues = [2]\n', (), "sampler.uniform.n_candidates"),
        (VARIED, ("select.values={L=[1]}",), "unknown varied setting of the study 'L'"),
        (VARIED, ("select.values={K=[1,2]}",), "K has no value 2. Choose of: 1, 3"),
        (
            VARIANTS + '[search.space]\n"training.loss" = { low = 1.0 }\n',
            (),
            "give either low and high, or choices",
        ),
    ],
)
def test_a_wrong_study_is_refused_with_what_to_do(
    cli: Cli, write: Callable[..., Path], body: str, options: tuple[str, ...], message: str
) -> None:
    outcome = cli("compare", write(body), *options)
    assert outcome.status == 2
    assert re.search(message, outcome.stderr, re.DOTALL), outcome.stderr
    assert not Path("runs").exists()


def test_a_study_that_is_not_there_is_named_with_the_shipped_ones(cli: Cli) -> None:
    outcome = cli("compare", "nothing.toml")
    assert outcome.status == 2
    assert "overall" in outcome.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_killed_in_the_middle_it_goes_on_to_the_same_results(cli: Cli, write: Callable[..., Path]) -> None:
    study = write()
    options = ["training.epochs=150", "training.patience=150", "training.checkpoint_every=5"]
    options += ["training.evaluate_every=50"]
    assert cli("compare", study, *options, "runtime.artifacts=others", "study.name=whole").status == 0
    command = [sys.executable, "-m", "hnlmrec", "compare", str(study), *options, "resources.processes=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not made("evaluate") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it was done before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1.5)  # its processes end by themselves
    assert len(made("evaluate")) < 4
    outcome = cli("compare", study, *options, "resources.processes=2", "--json")
    assert outcome.status == 0, outcome.stderr
    columns = ["variant", "seed", "test/recall@5", "test/ndcg@5", "best_epoch", "fhns_ratio"]
    assert results().select(columns).equals(results("runs/whole").select(columns))
