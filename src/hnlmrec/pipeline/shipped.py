"""Run configurations: shipped ones by name, the user's by path, and those that the command line builds itself."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hnlmrec.config import apply_overrides, build, read_toml
from hnlmrec.data.sources import is_prepared
from hnlmrec.errors import ConfigError, MissingFileError, lookup
from hnlmrec.pipeline.config import RunConfig

_FOLDER = Path(__file__).parent.parent / "configs"


def shipped_configs() -> dict[str, Path]:
    """Return the configurations that come with the package, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def load_shipped(name: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a shipped configuration."""
    return build_run_config(read_toml(lookup(shipped_configs(), name, "configuration")), overrides, name)


def load_run_config(config: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a configuration from a file, or a shipped one by its name.

    Raises:
        MissingFileError: there is neither such a file nor such a name.
        ConfigError: lists every problem.
    """
    if not config.exists():
        if str(config) in shipped_configs():
            return load_shipped(str(config), overrides)
        names = ", ".join(shipped_configs())
        raise MissingFileError(f"there is no file {config}, and no shipped configuration of that name: {names}.")
    return build_run_config(read_toml(config), overrides, str(config))


def training_config(source: str, model: str, sampler: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Return what `hnlmrec train` runs."""
    name = "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", part) for part in (Path(source).name, model, sampler))
    values = {
        "name": name.lstrip("._-"),
        "data": {"source": source},
        "model": {"name": model},
        "sampler": {"name": sampler},
    }
    return build_run_config(values, overrides, "the command line")


def data_config(source: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Return a configuration that is only prepared; overrides may leave out `data.`."""
    sections = RunConfig.model_fields.keys()
    full = [text if text.split("=")[0].split(".")[0] in sections else f"data.{text}" for text in overrides]
    return build_run_config({"data": {"source": source}}, full, "the command line")


def copy_shipped(name: str, target: Path) -> Path:
    """Copy a shipped configuration; an existing file is never overwritten."""
    source = lookup(shipped_configs(), name, "configuration")
    if target.is_dir():
        target = target / source.name
    if target.exists():
        raise ConfigError(f"{target} is there already. Choose another name, or remove it first.")
    if not target.parent.is_dir():
        raise MissingFileError(f"there is no folder {target.parent}: make it first.")
    shutil.copyfile(source, target)
    return target


def build_run_config(values: dict[str, Any], overrides: Iterable[str], where: str) -> RunConfig:
    """Build a configuration from values as TOML gives them.

    Raises:
        ConfigError: lists every problem, and says `where` the values came from.
    """
    merged = apply_overrides(values, overrides)
    training, data = merged.get("training"), merged.get("data")
    if isinstance(training, dict) and isinstance(data, dict) and training.get("select_on") == "test":
        source = data.get("source")
        if not (isinstance(source, str) and is_prepared(Path(source))):
            # The publications that pick the best epoch on test train on all that is not test.
            data.setdefault("valid_fraction", 0.0)
    return build(RunConfig, merged, where=where)
