"""An encoder that was fine-tuned on one data set, put to use on another without tuning.

Templates and weights stay as they are. The CF vectors are those of the other data set, in standard deviations of
their own, as the soft tokens and the residual expect them. The two CF spaces are not rotated onto each other: the
axes of two models that were trained apart have nothing in common, so what carries over is what the encoder makes
of texts, and of its residual maps what does not depend on axes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hnlmrec.artifacts import sha256_of, write_json
from hnlmrec.errors import ConfigError, MissingFileError
from hnlmrec.finetuning.encoder import FACTS_FILE, WEIGHTS_FILE, CFShape, CollaborativeEncoder, read_facts
from hnlmrec.finetuning.inputs import Floats


def encoder_digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a saved encoder.

    Raises:
        MissingFileError: the folder holds none.
    """
    return {name: sha256_of(_file(folder, name)) for name in (FACTS_FILE, WEIGHTS_FILE)}


def check_encoder(folder: Path, size: int) -> None:
    """Check that a saved encoder reads CF vectors of this length.

    Raises:
        MissingFileError: the folder holds no encoder.
        ConfigError: it reads vectors of another length.
    """
    found = _facts(folder)["cf"]["size"]
    if found != size:
        raise ConfigError(
            f"the encoder in {folder} was fine-tuned with CF vectors of length {found}, and this run pre-trains "
            f"vectors of length {size}: set pretrain.model.embedding_size={found}, or fine-tune an encoder of "
            "this length."
        )


def adopt_encoder(
    folder: Path, users: Floats, items: Floats, out: Path, *, device: str = "auto", precision: str = "auto"
) -> None:
    """Write a saved encoder into another folder, made ready for the CF vectors of another data set.

    Args:
        folder: of `CollaborativeEncoder.save`; a finetune stage's artefact, say.
        users: float32 [n_users, d], CF vectors of the data set that it will be used on.
        items: float32 [n_items, d].
        out: made if it is not there.
        device: where the model is put for the check.
        precision: see `CollaborativeEncoder`.

    Raises:
        MissingFileError: the folder holds no encoder, or its base model is not there.
        ConfigError: the CF vectors have another length than those it was fine-tuned with.
        CorruptArtifactError: its files are damaged, the base model is another one, or the weights do not fit.
    """
    check_encoder(folder, users.shape[1])
    shape = CFShape(users.shape[1], float(users.std()), float(items.std()))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FACTS_FILE, {**_facts(folder), "cf": shape._asdict()})
    shutil.copyfile(_file(folder, WEIGHTS_FILE), out / WEIGHTS_FILE)
    encoder = CollaborativeEncoder.load(out, device=device, precision=precision)  # checks that the weights fit
    if encoder.residual_maps is not None:
        encoder.residual_maps.forget_axes()
    encoder.save(out)  # with the fingerprint of its own


def _facts(folder: Path) -> dict[str, Any]:
    _file(folder, FACTS_FILE)
    return read_facts(folder)


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise MissingFileError(
            f"{folder} holds no encoder: {name} is missing. Give the folder of a fine-tuned encoder, such as "
            "artifacts/finetune/KEY."
        )
    return folder / name
