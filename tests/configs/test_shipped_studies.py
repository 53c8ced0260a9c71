"""Every shipped study can be run: its cells are built, and its first line says what it is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from hnlmrec.errors import UnknownChoiceError
from hnlmrec.studies.cells import Cell
from hnlmrec.studies.files import load_study, shipped_studies
from hnlmrec.studies.spaces import current, search_space


@cache
def cells_of(name: str) -> tuple[Cell, ...]:
    return tuple(load_study(name, ["study.seeds=[0]"]).grid.cells())


@pytest.mark.parametrize("name", shipped_studies())
def test_its_cells_can_be_built(name: str) -> None:
    cells = cells_of(name)
    assert len({cell.place for cell in cells}) == len(cells)
    assert shipped_studies()[name].read_text(encoding="utf-8").startswith("# ")


def test_in_the_overall_study_only_the_judged_variants_learn_from_a_judge() -> None:
    cells = cells_of("overall")
    trained = [cell for cell in cells if cell.place.initialisation != "none"]
    judged = {cell.place.variant for cell in trained if cell.config.training.needs_judge}
    assert judged == {"dns, recognised", "hnlmrec", "noise"}


@pytest.mark.parametrize("name", [name for name in shipped_studies() if name != "ablations"])
def test_who_has_no_recognised_positives_learns_no_order_either(name: str) -> None:
    cells = [cell for cell in cells_of(name) if not cell.config.training.recognised_share]
    assert {cell.place.variant for cell in cells if cell.config.training.order_weight} == set()


@pytest.mark.parametrize("name", [name for name in shipped_studies() if name != "tiny"])
def test_what_a_study_calls_hnlmrec_is_the_whole_of_it(name: str) -> None:
    ours = [cell.config for cell in cells_of(name) if cell.place.variant == "hnlmrec"]
    assert ours or name in {"llm-size", "transfer"}  # which ask of its vectors alone
    for config in ours:
        assert config.training.recognised_share
        assert config.training.order_weight
        assert config.sampler.risk_penalty
        assert config.sampler.drop_judged_false


def test_transfer_is_from_a_data_set_of_the_study_and_from_no_other_to_itself(tmp_path: Path) -> None:
    study = load_study("transfer", ["data.toys=a", "data.ml1m=b", "study.seeds=[0]"])
    cells = {(cell.place.dataset, cell.place.variant): cell.config for cell in study.grid.cells()}
    source = cells["ml1m", "hnlmrec, tuned on toys"].finetuning.transfer_from
    assert source == cells["toys", "dns"].data
    here = cells["ml1m", "hnlmrec, tuned on ml1m"]
    assert here.finetuning.transfer_from is None
    assert here == cells["ml1m", "hnlmrec, tuned here"]
    moved = cells["ml1m", "hnlmrec, tuned on toys"]
    assert moved.data == here.data
    text = shipped_studies()["transfer"].read_text(encoding="utf-8")
    (tmp_path / "wrong.toml").write_text(text.replace('transfer_from = "ml1m"', 'transfer_from = "films"'))
    with pytest.raises(UnknownChoiceError, match="unknown data set of the study 'films'"):
        load_study(str(tmp_path / "wrong.toml"))


def test_every_method_is_searched_in_its_own_space() -> None:
    study = load_study("llm-enhanced", ["study.seeds=[0]", "search.trials=2"])
    spaces = {
        variant.label: search_space(cell.config, variant, study.config.search, variant.set)
        for variant in study.config.variants
        for cell in study.grid.cells()
        if cell.place.variant == variant.label and cell.place.initialisation != "random"
    }
    assert {key for key in spaces["kar"] if key.startswith("enhancement.")} == {
        "enhancement.n_shared",
        "enhancement.n_dedicated",
        "enhancement.expert_size",
    }
    assert "enhancement.weight" in spaces["rlmrec_con"]
    assert "training.recognised_share" in spaces["hnlmrec"]
    assert not [key for key in spaces["dns"] if key.startswith(("enhancement.", "training.recognised"))]


def test_every_search_can_begin_with_what_the_file_says() -> None:
    study = load_study("llm-enhanced", ["study.seeds=[0]", "search.trials=2"])
    variants = {variant.label: variant for variant in study.config.variants}
    for cell in study.grid.cells():
        variant = variants[cell.place.variant]
        for key, entry in search_space(cell.config, variant, study.config.search, variant.set).items():
            assert entry.holds(current(cell.config, key)), (cell.place.name, key)


def test_a_data_set_is_placed_by_its_label() -> None:
    study = load_study("overall", ["data.toys=here", 'select.datasets=["toys"]', "study.seeds=[0]"])
    assert {cell.config.data.source for cell in study.grid.cells()} == {"here"}


def test_a_data_set_may_have_a_base_of_its_own() -> None:
    cells = cells_of("overall")
    ours = [cell for cell in cells if cell.place.variant == "hnlmrec"]
    shares = {cell.place.dataset: cell.config.training.recognised_share for cell in ours}
    assert shares == {"toys": 0.5, "ml1m": 0.2, "yelp": 0.15}
    vectors = {cell.place.dataset: cell.config.finetuning.vectors.k for cell in cells}
    assert vectors == {"toys": 1, "ml1m": 4, "yelp": 1}


def test_the_noise_ablation_differs_in_the_vectors_alone() -> None:
    for study in ("toys-hnlmrec", "ml1m-hnlmrec"):
        cells = load_study(study, ["study.seeds=[0]", 'select.initialisations=["semantic"]']).grid.cells()
        found = {cell.place.variant: cell.config for cell in cells}
        ours, noise = found["hnlmrec"], found["hnlmrec (noise)"]
        own = noise.sampler.model_dump()
        assert {name: own[name] for name in ours.sampler.model_dump()} | {
            "name": "hnlmrec"
        } == ours.sampler.model_dump()
        assert noise.model_copy(update={"sampler": ours.sampler}) == ours
