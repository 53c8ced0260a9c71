"""Where a model's files are, and what they are: a name becomes a local path, a path a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from hnlmrec.artifacts import sha256_of
from hnlmrec.assets import ASSETS, Asset, fetch
from hnlmrec.errors import AssetUnavailableError, CorruptArtifactError, MissingFileError, did_you_mean

_WEIGHTS = (".safetensors", ".gguf")
_SETTINGS = (".json", ".txt", ".model", ".jinja")  # tokenizer, pooling, limits


class ModelFiles:
    """A model's files. An asset's are downloaded when they are first read: what they are is pinned.

    So a machine that has what a model made, and not the model, can tell that it is made.

    Args:
        model: see `locate`.

    Raises:
        MissingFileError: there is no such model.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._asset = None if Path(model).expanduser().exists() else ASSETS.get(model)
        if self._asset is None:
            _ = self.path  # found, or refused, now

    @cached_property
    def path(self) -> Path:
        """The folder or the GGUF file; see `locate`."""
        return locate(self._model)

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file."""
        if self._asset is not None:
            return self._asset.entry.endswith(".gguf")
        return gguf_file(self.path) is not None

    @cached_property
    def digest(self) -> str:
        """The sha256, in hex, of what is in the files; see `weights_digest`."""
        if self._asset is not None:
            return _pinned(self._asset)
        return weights_digest(gguf_file(self.path) or self.path)

    def arguments(self) -> dict[str, str]:
        """Return what transformers' `from_pretrained` has to be given."""
        file = gguf_file(self.path)
        if file is None:
            return {"pretrained_model_name_or_path": str(self.path)}
        return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}


def locate(model: str) -> Path:
    """Return the folder or GGUF file of a model.

    Args:
        model: a path, an asset's name, or a Hugging Face name ("owner/name"), looked for in this order. Assets and
            Hugging Face models are downloaded once.

    Raises:
        MissingFileError: it is none of these.
        AssetUnavailableError: it could not be downloaded.
    """
    path = Path(model).expanduser()
    if path.exists():
        return path
    if model in ASSETS:
        return Path(fetch(model))
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return _from_hub(model)
    raise MissingFileError(
        f"there is no model {model!r}: it is no file, no folder and no asset{did_you_mean(model, ASSETS)} "
        "Give a path, the Hugging Face name (owner/name), or one of these assets: "
        f"{', '.join(sorted(ASSETS))}."
    )


def weights_digest(path: Path) -> str:
    """Return the sha256, in hex, of what is in a model's files: weights, tokenizer and settings, not their place.

    Raises:
        CorruptArtifactError: the folder holds no weights.
    """
    if path.is_file():
        return sha256_of(path)
    files = sorted(_model_files(path))
    if not any(file.suffix in _WEIGHTS for file in files):
        raise CorruptArtifactError(
            f"the folder {path} holds no model: expected a file that ends in {' or '.join(_WEIGHTS)}."
        )
    return _of_all((file.relative_to(path).as_posix(), sha256_of(file)) for file in files)


def _pinned(asset: Asset) -> str:
    """Return the `weights_digest` of an asset, by the sha256 values that its files must have."""
    if asset.entry:
        return next(file.sha256 for file in asset.files if file.name == asset.entry)
    named = {PurePosixPath(file.name): file.sha256 for file in asset.files}
    return _of_all((name.as_posix(), named[name]) for name in sorted(named) if name.suffix in _WEIGHTS + _SETTINGS)


def _of_all(files: Iterable[tuple[str, str]]) -> str:
    content = hashlib.sha256()
    for name, sha256 in files:
        content.update(f"{name} {sha256}\n".encode())
    return content.hexdigest()


def gguf_file(path: Path) -> Path | None:
    """Return the GGUF file that `path` is or, as the only one, holds; None for a model of the usual form."""
    if path.suffix == ".gguf":
        return path
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise MissingFileError(f"{path} holds {len(found)} GGUF files ({names}). Give the path of one of them.")
    return found[0] if found else None


def _model_files(folder: Path) -> Iterable[Path]:
    hidden = (file for file in folder.rglob("*") if file.suffix in _WEIGHTS + _SETTINGS and file.is_file())
    return (file for file in hidden if not any(p.startswith(".") for p in file.relative_to(folder).parts))


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - comes with the extra that asks for it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    patterns = [f"*{suffix}" for suffix in _WEIGHTS + _SETTINGS]
    try:
        return Path(snapshot_download(model, allow_patterns=patterns, ignore_patterns=["onnx/*", "openvino/*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise AssetUnavailableError(
            f"the model {model!r} could not be downloaded from Hugging Face ({type(error).__name__}: {error}). "
            "Check its name and the connection, or download it elsewhere and give the folder's path."
        ) from error
