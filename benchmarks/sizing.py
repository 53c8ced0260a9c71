"""Sizes a run that nobody has made: calls, tokens, hours, bytes and memory of each stage, from rates.

    python benchmarks/sizing.py [--users N] [--items N] [--interactions N] [NAME=VALUE ...]

Every rate has a name, a value, and where it comes from: measured on two cores, counted, or *assumed* where no such
machine was there to measure on. Give your own as NAME=VALUE. `--docs` puts the tables into docs/scaling.md; a test
compares the two.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/scaling.md"
BLOCK = re.compile(r"(?<=<!-- sizing -->\n).*?(?=<!-- end of sizing -->)", re.DOTALL)
BATCH = 2048


@dataclass(frozen=True)
class Rate:
    """A number, what it is, and where it comes from."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Size:
    """What is to be sized."""

    users: int = 100_000_000
    items: int = 10_000_000
    interactions: int = 10_000_000_000


def rates(given: Mapping[str, float] | None = None) -> dict[str, Rate]:
    """Return all rates, those that were given in the place of ours."""
    growth = json.loads((ROOT / "benchmarks/results/growth.json").read_text(encoding="utf-8"))["results"][-1]
    step = growth["milliseconds_per_step"] / 1000 / growth["train"]
    epoch = json.loads((ROOT / "benchmarks/results/epoch.json").read_text(encoding="utf-8"))["results"]
    sport = next(row for row in epoch if row["folder"].startswith("sport"))["here"][0]
    pairs = sport["dataset"]["users"] * sport["dataset"]["items"] / sport["seconds_per_evaluation"]
    demo, log = "`make demo`, LOG 2026-11-21 (sizing)", "LOG 2026-11-21 (sizing)"
    table = {
        "profile_prompt_tokens": Rate(342, "tokens a call", demo),
        "profile_reply_tokens": Rate(51, "tokens a call", demo),
        "negative_prompt_tokens": Rate(437, "tokens a call", demo),
        "negative_reply_tokens": Rate(29, "tokens a call", demo),
        "reply_bytes": Rate(659, "bytes a row and its cached reply", log),
        "written_rows": Rate(1570, "rows/s that one process hands out and writes down", log),
        "cpu_calls": Rate(1 / 0.68, "calls/s, 135M model, 2 cores", "LOG, 8 slots: 0.62 to 0.73 s a profile"),
        "gpu_prompt_tokens": Rate(20_000, "tokens/s a GPU, 8B model", "*assumed*"),
        "gpu_reply_tokens": Rate(2_500, "tokens/s a GPU, 8B model", "*assumed*"),
        "cpu_texts": Rate(114, "texts/s, MiniLM, 2 cores", log),
        "gpu_texts": Rate(5_000, "texts/s a GPU, MiniLM", "*assumed*"),
        "text_size": Rate(384, "numbers of 2 bytes a text vector", "MiniLM"),
        "vector_prompt_tokens": Rate(70, "tokens a vector", "LOG 2026-11-21 (encoding)"),
        "cpu_vectors": Rate(39_000 / 1800, "vectors/s, 135M model cut to 4 layers, 2 cores", "LOG, Amazon Toys"),
        "embedding_size": Rate(64, "numbers of 4 bytes a CF vector", "default"),
        "step_seconds": Rate(
            step, "s a LightGCN step and interaction, 2 cores", "results/growth.json, its largest"
        ),
        "scored_pairs": Rate(pairs, "(user, item) pairs/s ranked, 2 cores", "results/epoch.json, Sports"),
        "raw_bytes": Rate(31, "bytes an interaction as CSV", log),
        "prepared_rows": Rate(282_000, "rows/s, one core", log),
        "prepare_bytes": Rate(127, "bytes of memory an interaction", log),
    }
    for name, value in (given or {}).items():
        if name not in table:
            raise SystemExit(f"there is no rate {name!r}. Choose from: {', '.join(table)}.")
        table[name] = Rate(value, table[name].unit, "given")
    return table


def sizing(size: Size, rate: Mapping[str, Rate]) -> list[list[str]]:
    """Return a row for each stage: stage, work, on 2 cores, on GPUs, on disk, in memory."""
    r = {name: one.value for name, one in rate.items()}
    nodes = size.users + size.items
    table = nodes * r["embedding_size"] * 4  # bytes of all CF vectors

    def calls(name: str, n: int, kind: str) -> list[str]:
        prompt, reply = n * r[f"{kind}_prompt_tokens"], n * r[f"{kind}_reply_tokens"]
        gpu = prompt / r["gpu_prompt_tokens"] + reply / r["gpu_reply_tokens"]
        work = f"{number(n)} calls, {number(prompt)} + {number(reply)} tokens"
        return [name, work, time(n / r["cpu_calls"]), gpu_hours(gpu), data(n * r["reply_bytes"]), "16 bytes a row"]

    def vectors(name: str, n: int, width: float, per_s: str, gpu: float) -> list[str]:
        return [name, f"{number(n)} vectors", time(n / r[per_s]), gpu_hours(gpu), data(n * width * 2), "a chunk"]

    tuned = r["vector_prompt_tokens"] / r["gpu_prompt_tokens"]
    step = r["step_seconds"] * size.interactions
    edges = size.interactions * 4
    steps = math.ceil(size.interactions / BATCH)
    ranked = size.users * size.items
    return [
        [
            "prepare",
            f"{number(size.interactions)} rows, {data(size.interactions * r['raw_bytes'])} of CSV",
            time(size.interactions / r["prepared_rows"]),
            "-",
            data(edges + size.users * 8),
            data(size.interactions * r["prepare_bytes"]),
        ],
        calls("profiles", nodes, "profile"),
        calls("hard_negatives, one a pair", size.interactions, "negative"),
        calls("hard_negatives, one a user", size.users, "negative"),
        vectors("encode texts", nodes, r["text_size"], "cpu_texts", nodes / r["gpu_texts"]),
        vectors(
            "vectors, one a pair", size.interactions, r["embedding_size"], "cpu_vectors", size.interactions * tuned
        ),
        vectors("vectors, one a user", size.users, r["embedding_size"], "cpu_vectors", size.users * tuned),
        [
            "train, LightGCN, an epoch",
            f"{number(steps)} steps of {BATCH}",
            time(steps * step),
            "-",
            data(table),
            data(7 * table + 3 * edges),
        ],
        ["train, one gradient over processes", "summed at each step", "-", "-", "-", f"{data(table)} sent a step"],
        [
            "evaluate, all users",
            f"{number(ranked)} scores",
            time(ranked / r["scored_pairs"]),
            "-",
            "-",
            data(table),
        ],
        [
            "evaluate, 100,000 users",
            f"{number(1e5 * size.items)} scores",
            time(1e5 * size.items / r["scored_pairs"]),
            "-",
            "-",
            data(table),
        ],
    ]


def limits(size: Size, rate: Mapping[str, Rate]) -> list[list[str]]:
    """Return from how many interactions on a stage takes longer, or holds more, than a machine does; in order."""
    r = {name: one.value for name, one in rate.items()}
    day = 86_400.0
    users, nodes = (n / size.interactions for n in (size.users, size.users + size.items))  # of each interaction
    gpu_call = sum(r[f"negative_{part}_tokens"] / r[f"gpu_{part}_tokens"] for part in ("prompt", "reply"))
    vector = r["embedding_size"] * 4
    found = [
        ("an epoch of LightGCN (batch 2,048) takes a day on 2 cores", math.sqrt(day * BATCH / r["step_seconds"])),
        ("a negative for each pair takes 8 GPUs a week", 7 * day * 8 / gpu_call),
        ("a negative for each user takes 8 GPUs a week", 7 * day * 8 / gpu_call / users),
        ("training needs more than 256 GB of memory", 256e9 / (7 * nodes * vector + 12)),
        ("preparing needs more than 256 GB of memory", 256e9 / r["prepare_bytes"]),
        ("one process takes a week to write down a negative for each pair", 7 * day * r["written_rows"]),
        (
            "ranking all items for all users takes 2 cores a day",
            math.sqrt(day * r["scored_pairs"] / users / (nodes - users)),
        ),
    ]
    return [[what, number(at)] for what, at in sorted(found, key=lambda row: row[1])]


def number(n: float) -> str:
    """Return three digits at most, with a unit."""
    for bound, unit in (
        (1e15, " · 10¹⁵"),
        (1e12, " trillion"),
        (1e9, " billion"),
        (1e6, " million"),
        (1e3, " thousand"),
    ):
        if n >= bound:
            return f"{n / bound:.3g}{unit}"
    return f"{n:.3g}"


def data(n: float) -> str:
    """Return bytes in decimal units."""
    for bound, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n >= bound:
            return f"{n / bound:.3g} {unit}"
    return f"{number(n)} bytes"


def time(seconds: float) -> str:
    """Return seconds in the largest unit that is below them."""
    for bound, unit in ((365.25 * 86_400, "years"), (86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= bound:
            value = seconds / bound
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
    return f"{seconds:.3g} s"


def gpu_hours(seconds: float) -> str:
    """Return GPU hours."""
    return f"{float(f'{seconds / 3600:.3g}'):,.0f}"


def tables(size: Size, rate: Mapping[str, Rate]) -> str:
    """Return all that is said, in Markdown."""
    heads = ["stage", "work", "2 cores", "GPU hours", "on disk", "in memory"]
    parts = [
        f"{number(size.users)} users, {number(size.items)} items, {number(size.interactions)} interactions:",
        markdown(heads, sizing(size, rate)),
        "With as many users and items for each interaction, what breaks in which order:",
        markdown(["from this many interactions", ""], [row[::-1] for row in limits(size, rate)]),
        "The rates behind it:",
        markdown(
            ["rate", "value", "unit", "source"],
            [[f"`{name}`", f"{one.value:.3g}", one.unit, one.source] for name, one in rate.items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("users", "items", "interactions"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Size(), name))
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/scaling.md")
    parser.add_argument("rates", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_args()
    given = {name: float(value) for name, _, value in (text.partition("=") for text in options.rates)}
    text = tables(Size(options.users, options.items, options.interactions), rates(given))
    if options.docs:
        PAGE.write_text(BLOCK.sub(lambda _: text, PAGE.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
