"""Legends of the pictures: names that are too long for two columns, and room for many."""

from __future__ import annotations

import re
from pathlib import Path

from hnlmrec.reporting.study.plots import curve_plot


def drawn(names: list[str], folder: Path) -> tuple[float, dict[str, tuple[float, float]]]:
    """Return the picture's height and the place (x, y) of each name of the legend."""
    lines = {name: ([1.0, 2.0], [float(n), n + 1.0]) for n, name in enumerate(names)}
    styles = {name: n for n, name in enumerate(names)}
    svg = curve_plot(lines, x_label="epochs", y_label="value", styles=styles, stem=folder / "picture")
    view = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)
    assert view is not None
    texts = re.findall(r'<text [^>]*x="([\d.-]+)" y="([\d.-]+)"[^>]*>([^<]*)</text>', svg)
    return float(view[1]), {text: (float(x), float(y)) for x, y, text in texts if text in names}


def test_names_that_are_too_long_for_two_columns_stand_in_one(tmp_path: Path) -> None:
    _, short = drawn(["a", "b", "c"], tmp_path)
    assert len({x for x, _ in short.values()}) == 2
    _, long = drawn(["a", "b", "judge without the language model that was tuned" * 2], tmp_path)
    assert len(long) == 3
    assert len({x for x, _ in long.values()}) == 1


def test_a_high_legend_makes_the_picture_higher_and_lies_within(tmp_path: Path) -> None:
    few, _ = drawn(["a", "b"], tmp_path)
    many, places = drawn([f"variant {n}" for n in range(20)], tmp_path)
    assert many > few + 60
    assert len(places) == 20
    assert all(0 < y < many for _, y in places.values())


def test_a_few_values_of_a_setting_are_the_ticks(tmp_path: Path) -> None:
    options = {"x_label": "layers", "y_label": "value", "styles": {"a": 0}}
    few = curve_plot({"a": ([1.0, 2.0, 4.0], [0.1, 0.2, 0.3])}, stem=tmp_path / "few", **options)
    shown = [text for text in re.findall(r"<text [^>]*>([^<]*)</text>", few) if re.fullmatch(r"[\d.]+", text)]
    assert shown[:3] == ["1", "2", "4"]
    epochs = [float(n) for n in range(1, 31)]
    many = curve_plot({"a": (epochs, epochs)}, stem=tmp_path / "many", **options)
    assert ">17<" not in many
