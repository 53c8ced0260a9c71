"""Study files: shipped ones by name, the user's by path, changed by settings of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnlmrec.config import apply_overrides, build, read_toml
from hnlmrec.data.preparation import PreparationConfig
from hnlmrec.errors import ConfigError, MissingFileError
from hnlmrec.pipeline.shipped import shipped_configs
from hnlmrec.studies.cells import Grid
from hnlmrec.studies.config import StudyConfig

_FOLDER = Path(__file__).parent.parent / "configs/studies"
_SECTIONS = ("study", "shared", "search", "select", "resources")


@dataclass(frozen=True)
class Study:
    """A study that can be run: its file, and the grid that it spans."""

    config: StudyConfig
    grid: Grid
    overrides: tuple[str, ...] = ()
    """Settings of the command line, without the places of data sets."""
    shipped: str = ""
    """Name of the shipped study that it is; "" for a file of the user's."""


def shipped_studies() -> dict[str, Path]:
    """Return the studies that come with the package, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def is_study(argument: str) -> bool:
    """Whether an argument of `compare` means a study, and not a run's folder."""
    path = Path(argument)
    return path.suffix == ".toml" or (argument in shipped_studies() and not path.exists())


def load_study(source: str, overrides: Iterable[str] = ()) -> Study:
    """Read a study file, or a shipped one by its name.

    Args:
        source: the path or the name.
        overrides: `study.…`, `shared.…`, `search.…`, `select.…` and `resources.…` change the file,
            `data.LABEL=PATH` says where the data set of that label lies, and all others are settings of every
            run, which win over the file's.

    Raises:
        MissingFileError: there is neither such a file nor such a name.
        ConfigError: lists every problem.
    """
    path, shipped = Path(source), ""
    if not path.exists():
        if source not in shipped_studies():
            names = ", ".join(shipped_studies())
            raise MissingFileError(f"there is no file {source}, and no shipped study of that name: {names}.")
        path, shipped = shipped_studies()[source], source
    values = read_toml(path)
    own, settings = _separate(values, list(overrides))
    config = build(StudyConfig, apply_overrides(values, own), where=str(path))
    bases = {entry.label: _read_base(entry.base, path) for entry in config.datasets if entry.base}
    grid = Grid(config, config.base or _read_base(config.study.base, path), settings, bases)
    grid.cells()  # whatever is wrong with a cell is said now
    return Study(config, grid, (*own, *settings), shipped)


def _separate(values: dict[str, Any], overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of the study, and those of all runs; put paths of data sets into `values`."""
    own, settings = [], []
    datasets = values.get("datasets", [])
    labels = {entry.get("label"): entry for entry in datasets if isinstance(entry, dict)}
    for text in overrides:
        key, _, value = text.partition("=")
        label = key.removeprefix("data.")
        if key.startswith("data.") and label in labels:
            labels[label]["set"] = [*labels[label].get("set", []), f"data.source={value}"]
        elif key.startswith("data.") and labels and label.split(".")[0] not in PreparationConfig.model_fields:
            raise ConfigError(
                f"{text}: the study has no data set {label!r}. Known here: {', '.join(map(str, labels))}."
            )
        elif key.split(".")[0] in _SECTIONS:
            own.append(text)
        elif "=" not in text:
            raise ConfigError(f"{text!r} is not of the form KEY=VALUE, for example study.seeds=[0,1].")
        else:
            settings.append(text)
    return own, settings


def _read_base(name: str, path: Path) -> dict[str, Any]:
    """Return the sections that cells start from."""
    for candidate in (path.parent / name, Path(name)):
        if candidate.is_file():
            return read_toml(candidate)
    if name not in shipped_configs():
        names = ", ".join(shipped_configs())
        raise MissingFileError(
            f"base {name!r} is neither a file beside {path} nor a shipped configuration: {names}."
        )
    return read_toml(shipped_configs()[name])
