"""Memory and time of preparing a large dump: `python benchmarks/big_dump.py [--gigabytes G] [--plain] [--save]`.

Writes a dump in the format of Amazon Reviews 2018 into a temporary folder: reviews of a power law of users and of
items, with texts, some lines corrupt, and the metadata of the items. Then `hnlmrec data prepare` reads it in a
process of its own, whose peak memory (VmHWM, which leaves out the cache of the file system) and seconds are taken.
The folder is deleted at the end. --save writes results/big_dump.json beside this file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "big_dump.json"
BATCH = 50_000
CORRUPT_EVERY = 100_003
"""Every so many lines one is cut off."""
WORDS = [
    "the",
    "toy",
    "is",
    "fun",
    "and",
    "my",
    "son",
    "likes",
    "it",
    "a",
    "lot",
    "but",
    "the",
    "box",
    "was",
    "broken",
    "when",
    "it",
    "came",
    "so",
    "i",
    "sent",
    "it",
    "back",
]
SETTINGS = ["min_rating=4.0", "core=5", "since=2015-01-01", "until=2018-01-01"]
"""The filters of configs/amazon2018-toys.toml, with a smaller core."""


def power_law(rng: np.random.Generator, n: int, most: int, exponent: float) -> Any:
    """Draw n numbers below `most`, small ones more often."""
    return (most * rng.random(n) ** exponent).astype(np.int64)


def reviews(rng: np.random.Generator, n_users: int, n_items: int) -> Iterator[bytes]:
    """Give batches of lines without end."""
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(5, 160, 400)]
    line = (
        '{"overall": %d.0, "verified": true, "reviewTime": "09 1, 2016", "reviewerID": "A%013X", "asin": "B%09d", '
        '"style": {"Format:": " Toy"}, "reviewerName": "A buyer", "reviewText": "%s", "summary": "A toy", '
        '"unixReviewTime": %d}'
    )
    while True:
        users = power_law(rng, BATCH, n_users, 3.0) * 104_729 % 16**12  # numbers of no order
        rows = zip(
            rng.integers(1, 6, BATCH).tolist(),
            users.tolist(),
            power_law(rng, BATCH, n_items, 3.0).tolist(),
            rng.integers(0, len(texts), BATCH).tolist(),
            rng.integers(1_400_000_000, 1_540_000_000, BATCH).tolist(),
            strict=True,
        )
        lines = (line % (stars, user, item, texts[text], when) for stars, user, item, text, when in rows)
        yield "".join(f"{text}\n" for text in lines).encode()


def write(path: Path, size: int, rng: np.random.Generator, n_users: int, n_items: int) -> dict[str, int]:
    """Write lines of `size` bytes, before they are packed; return what was written."""
    n_bytes = n_lines = n_corrupt = 0
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        for batch in reviews(rng, n_users, n_items):
            first = CORRUPT_EVERY - n_lines % CORRUPT_EVERY
            data = batch
            if first <= BATCH:
                lines = batch.split(b"\n")
                lines[first - 1] = lines[first - 1][:100]
                data, n_corrupt = b"\n".join(lines), n_corrupt + 1
            file.write(data)
            n_bytes, n_lines = n_bytes + len(data), n_lines + BATCH
            if n_bytes >= size:
                break
    return {"bytes": n_bytes, "file_bytes": path.stat().st_size, "lines": n_lines, "corrupt": n_corrupt}


def write_items(path: Path, n_items: int) -> None:
    """Write the metadata of every item."""
    with gzip.open(path, "wt", compresslevel=1) as file:
        for item in range(n_items):
            line = {
                "asin": f"B{item:09d}",
                "title": f"Toy {item}",
                "brand": "A brand",
                "category": ["Toys & Games"],
            }
            file.write(json.dumps(line | {"description": [" ".join(WORDS)], "also_buy": ["B1"] * 20}) + "\n")


def prepare(source: Path, folder: Path) -> dict[str, Any]:
    """Run the command in a process of its own; return its peak memory, seconds and counts."""
    command = [sys.executable, "-m", "hnlmrec", "data", "prepare", str(source), *SETTINGS, "--json"]
    command.append(f"runtime.artifacts={folder / 'artifacts'}")
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.2)
    assert process.stdout is not None
    out = process.stdout.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with {process.returncode}")
    result = json.loads(out)
    statistics = json.loads((Path(result["path"]) / "statistics.json").read_text())
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mib": round(peak / 1024),
        "steps": {step["step"]: step["interactions"] for step in statistics["steps"]},
        "users": statistics["users"],
        "items": statistics["items"],
        "train_reviews": statistics["text"]["train_reviews"],
        "corrupt_lines": statistics["corrupt_lines"],
    }


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process in KiB; 0 where it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the reviews before they are packed")
    parser.add_argument("--plain", action="store_true", help="do not pack them")
    parser.add_argument("--users", type=int, default=300_000)
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--save", action="store_true", help=f"add the figures to {RESULTS.name}")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="hnlmrec-dump-", dir=options.folder))
    try:
        source = folder / ("Toys.json" if options.plain else "Toys.json.gz")
        dump = write(source, int(options.gigabytes * 1e9), rng, options.users, options.items)
        write_items(folder / "meta_Toys.json.gz", options.items)
        measured = prepare(source, folder)
    finally:
        shutil.rmtree(folder)
    system = {"python": platform.python_version(), "cpus": len(os.sched_getaffinity(0))}
    result = {"packed": not options.plain, "dump": dump, "prepare": measured, "system": system}
    print(json.dumps(result, indent=2))
    if options.save:
        before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        RESULTS.write_text(json.dumps([*before, result], indent=2) + "\n")


if __name__ == "__main__":
    main()
