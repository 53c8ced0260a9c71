"""Every shipped study can be run: its cells are built, and its first line says what it is."""

from __future__ import annotations

import pytest

from hnlmrec.studies.files import load_study, shipped_studies


@pytest.mark.parametrize("name", shipped_studies())
def test_its_cells_can_be_built(name: str) -> None:
    grid = load_study(name, ["study.seeds=[0]"]).grid
    cells = grid.cells()
    assert len({cell.place for cell in cells}) == len(cells)
    assert shipped_studies()[name].read_text(encoding="utf-8").startswith("# ")


def test_in_the_overall_study_only_the_judged_variants_have_recognised_positives() -> None:
    cells = load_study("overall", ["study.seeds=[0]"]).grid.cells()
    share = {cell.place.variant: cell.config.training.recognised_share for cell in cells}
    judged = {label for label, value in share.items() if value}
    assert judged == {"dns, recognised", "hnlmrec", "judge"}


def test_a_data_set_is_placed_by_its_label() -> None:
    study = load_study("overall", ["data.toys=here", 'select.datasets=["toys"]', "study.seeds=[0]"])
    assert {cell.config.data.source for cell in study.grid.cells()} == {"here"}
