"""What `hnlmrec doctor` looks at: each check says what it found, and what to do where something is missing."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from hnlmrec import assets
from hnlmrec.llm.openai_client import KEY_VARIABLES

Status = Literal["ok", "warn", "fail"]

_GIB = 2**30
_MEMORY_NEEDED = 4 * _GIB
_DISK_NEEDED = 2 * _GIB
_ENDPOINT_SECONDS = 5.0
EXTRAS = {
    "embedded": "an LLM in this process (llama.cpp)",
    "llm": "vectors from an OpenAI-compatible API",
    "text": "text encoders",
    "finetune": "fine-tuning of a language model",
    "deepspeed": "fine-tuning on DeepSpeed, in several processes",
    "report": "the report, and pictures of studies",
    "search": "search of settings in studies",
    "ray": "texts on a Ray cluster",
    "faiss": "export of a FAISS index",
    "pandas": "pandas tables in and out",
    "tracking": "TensorBoard and MLflow loggers",
}
"""The extras that a user may want, and what for."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        status: "ok"; "warn" where only a part of the package is affected; "fail" where nothing will work.
        detail: what was found.
        advice: what to do; "" where there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the fields, for JSON."""
        return asdict(self)


def run_checks(base_url: str | None = None) -> list[Check]:
    """Look at everything; nothing is downloaded and nothing is changed.

    Args:
        base_url: an OpenAI-compatible endpoint to ask, up to and with /v1; the environment variable
            OPENAI_BASE_URL by default. Without either, no endpoint is asked.
    """
    checks = [_python(), _packages(), *_torch(), _processor(), _memory(), _disk()]
    checks += [_asset(name) for name in assets.ASSETS]
    checks += [_extra(extra) for extra in EXTRAS]
    base_url = base_url or os.environ.get("OPENAI_BASE_URL")
    return checks + ([_endpoint(base_url)] if base_url else [])


def _python() -> Check:
    # An older Python than pyproject.toml allows does not come this far: the imports above fail.
    return Check("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _packages() -> Check:
    found = {name: _version(name) for name in ("hnlmrec", *_required())}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", "pip install --force-reinstall hnlmrec")
    return Check("packages", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def _torch() -> Iterator[Check]:
    try:
        import torch  # noqa: PLC0415 - this module is importable without it
    except (ImportError, OSError) as error:  # OSError: a shared library of another platform or CUDA version
        yield Check("torch", "fail", f"cannot be imported ({error})", "pip install torch")
        return
    yield Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        yield Check(
            f"cuda:{number}", "ok", f"{properties.name}, {total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB free"
        )
    if not torch.cuda.is_available():
        yield Check("device", "ok", "cpu (no CUDA device)")


def _processor() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cores", "ok", f"{usable} usable, {platform.machine()}")


def _memory() -> Check:
    total, free = _memory_bytes()
    if total is None or free is None:
        return Check("memory", "ok", "not known on this platform")
    detail = f"{total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB free"
    if free < _MEMORY_NEEDED:
        return Check("memory", "warn", detail, "Close other programs; training and the LLM want about 4 GiB.")
    return Check("memory", "ok", detail)


def _memory_bytes() -> tuple[int | None, int | None]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
        except (AttributeError, ValueError, OSError):
            return None, None
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return values.get("MemTotal"), values.get("MemAvailable")


def _disk() -> Check:
    folder = assets.home()
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is None or not os.access(there, os.W_OK):
        return Check(
            "disk", "fail", f"{folder} cannot be written", "Set HNLMREC_HOME to a folder that you may write to."
        )
    free = shutil.disk_usage(there).free
    detail = f"{free / _GIB:.1f} GiB free for {folder}"
    if free < _DISK_NEEDED:
        return Check("disk", "warn", detail, "Make room, or set HNLMREC_HOME to a folder on another disk.")
    return Check("disk", "ok", detail)


def _asset(name: str) -> Check:
    if assets.is_present(name):
        return Check(f"asset {name}", "ok", "cached")
    return Check(f"asset {name}", "warn", "not cached; the first use downloads it", f"hnlmrec data fetch {name}")


def _extra(extra: str) -> Check:
    packages = _required(extra)
    missing = [name for name in packages if _version(name) is None]
    if missing:
        detail = f"missing: {', '.join(missing)}, for {EXTRAS[extra]}"
        return Check(f"extra {extra}", "warn", detail, f"pip install 'hnlmrec[{extra}]'")
    return Check(f"extra {extra}", "ok", ", ".join(f"{name} {_version(name)}" for name in packages))


def _endpoint(base_url: str) -> Check:
    name = "llm endpoint"
    try:
        models = _models(base_url)
    except urllib.error.HTTPError as error:
        error.close()
        key = f"Set {' or '.join(KEY_VARIABLES)} in the environment."
        advice = key if error.code in (401, 403) else "Check the address; most end in /v1."
        return Check(name, "fail", f"{base_url} answers HTTP {error.code}", advice)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        detail = f"{base_url} does not answer as an OpenAI-compatible server ({error})"
        return Check(
            name, "fail", detail, "Start the server, or mend the address, e.g. http://localhost:11434/v1."
        )
    shown = ", ".join(models[:5]) + (", …" if len(models) > 5 else "")
    return Check(name, "ok", f"{base_url} serves {shown or 'no model'}")


def _models(base_url: str) -> list[str]:
    """Ask an endpoint for the names of its models."""
    if not base_url.startswith(("http://", "https://")):
        raise ValueError("the address must begin with http:// or https://")
    key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), "none")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        f"{base_url.rstrip('/')}/models", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=_ENDPOINT_SECONDS) as reply:  # noqa: S310
        return [str(model["id"]) for model in json.load(reply)["data"]]


def _required(extra: str | None = None) -> list[str]:
    """Return the packages that hnlmrec itself, or one of its extras, needs, from its own metadata."""
    found = []
    for line in importlib.metadata.requires("hnlmrec") or ():
        requirement, _, marker = line.partition(";")
        named = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if (named.group(1) if named else None) == extra:
            found.append(re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0])
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
