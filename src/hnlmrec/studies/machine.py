"""What kind of machine a study runs on: seconds mean nothing without it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from hnlmrec.studies.scheduler import processor_count


def machine() -> dict[str, Any]:
    """Return system, cores, memory in GiB (None where it is not told) and accelerator ("" for none)."""
    import torch  # noqa: PLC0415 - slow to import

    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    known = {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= names.keys()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if known else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": processor_count(),
        "memory_gib": None if memory is None else round(memory, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def machine_text(facts: Mapping[str, Any]) -> str:
    """Return them in words."""
    memory = "" if facts["memory_gib"] is None else f", {facts['memory_gib']:g} GiB"
    return f"{facts['system']}, {facts['cores']} cores{memory}, {facts['accelerator'] or 'no accelerator'}"
