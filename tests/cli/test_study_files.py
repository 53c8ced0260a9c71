"""A study's file: what its settings mean, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Outcome
from tests.cli.small_study import VARIANTS, VARIED

from hnlmrec.artifacts import ArtifactStore
from hnlmrec.errors import ConfigError
from hnlmrec.studies.files import load_study
from hnlmrec.studies.jobs import Plan

Cli = Callable[..., Outcome]
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
