"""Where a model's files are, and what they are: a name becomes a local path, a path a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from hnlmrec.artifacts import sha256_of
from hnlmrec.assets import ASSETS, fetch
from hnlmrec.errors import AssetUnavailableError, CorruptArtifactError, MissingFileError, did_you_mean

_WEIGHTS = (".safetensors", ".gguf")
_SETTINGS = (".json", ".txt", ".model", ".jinja")  # tokenizer, pooling, limits


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
    content = hashlib.sha256()
    for file in files:
        content.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
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
