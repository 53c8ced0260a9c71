"""The LLM layer under load: `python benchmarks/llm_load.py [--rows 100000] [--concurrency 64] [--out FILE]`.

A server in a process of its own (faulty_server.py) answers after 50 ms, and 5 % of the requests meet a fault:
429, 500, no answer, a cut connection, half a JSON, a reply that is not what was asked for. The library's own path
writes the profiles of `--rows` items: prompts, cache, client, retries, repair, row file. The same path with one
request in flight is the serial loop; it is measured in parts before and after, on the same server, and its time
for all rows extrapolated. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faulty_server import Server

from hnlmrec.data.interactions import Interactions
from hnlmrec.generation.catalogue import TextCatalogue
from hnlmrec.generation.profiles import ProfilesConfig, generate_profiles
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import ChatCompletion
from hnlmrec.llm.providers import LLMConfig, open_client
from hnlmrec.rng import RandomStreams

FACTS = "1996; Crime, Drama, Thriller; Two men and a plan that goes wrong from the first snow on."
TIMEOUT_SECONDS = 2.0


@dataclass
class Memory:
    """Resident memory over the rows that are done."""

    done: int = 0
    samples: list[tuple[float, int, float]] = field(default_factory=list)  # seconds, rows, MiB

    def note(self, done: int, _: int) -> None:
        self.done = done

    @contextmanager
    def watched(self):
        stop, started = threading.Event(), time.perf_counter()

        def watch() -> None:
            while not stop.wait(0.25):
                self.samples.append((time.perf_counter() - started, self.done, resident_mib()))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()

    def at(self, rows: float) -> float:
        return min(self.samples, key=lambda sample: abs(sample[1] - rows))[2]


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def catalogue(n: int, name: str) -> TextCatalogue:
    """Return n items with a title each; one user, whose profile is given."""
    return TextCatalogue(
        user_ids=["u"],
        user_facts=[""],
        user_profiles=["A user."],
        item_ids=[f"{name}{number}" for number in range(n)],
        item_titles=[f"The Long {name} Film, Part {number}" for number in range(n)],
        item_facts=[FACTS] * n,
        item_profiles=[None] * n,
        train=Interactions.from_pairs([0], [0], 1, n),
    )


def write_rows(server: Server, texts: TextCatalogue, folder: Path, concurrency: int, memory: Memory) -> dict:
    """Write the profiles; return counts, seconds and CPU seconds."""
    config = LLMConfig(
        provider="openai", model="m", base_url=server.url, concurrency=concurrency, timeout_seconds=TIMEOUT_SECONDS
    )
    client = CachedChatClient(open_client(config), folder / "cache.sqlite")
    cpu, server_cpu, started = time.process_time(), server.cpu_seconds(), time.perf_counter()
    try:
        summary = generate_profiles(
            texts,
            ProfilesConfig(),
            client=client,
            completion=config.completion(),
            streams=RandomStreams(0),
            out=folder / "out",
            concurrency=concurrency,
            progress=memory.note,
        )
    finally:
        client.close()
    seconds = time.perf_counter() - started
    return {
        "rows": len(texts.item_ids),
        "seconds": round(seconds, 2),
        "rows_per_second": round(len(texts.item_ids) / seconds, 2),
        "cpu_ms_per_row": round(1000 * (time.process_time() - cpu) / len(texts.item_ids), 3),
        "server_cpu_ms_per_row": round(1000 * (server.cpu_seconds() - server_cpu) / len(texts.item_ids), 3),
        "counts": summary.counts(),
    }


def serial(server: Server, rows: int, name: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        return write_rows(server, catalogue(rows, name), Path(folder), 1, Memory())


def check(server: Server, texts: TextCatalogue, folder: Path) -> dict:
    """Compare the table with the catalogue and with what the server was asked."""
    rows = [json.loads(line) for line in (folder / "out/item_profiles.jsonl").open(encoding="utf-8")]
    failed = [json.loads(line) for line in (folder / "out/failures.jsonl").open(encoding="utf-8")]
    written, there = [row["item_id"] for row in rows], set(texts.item_ids)
    distinct = set(written)
    titles = dict(zip(texts.item_ids, texts.names, strict=True))
    wrong = [row for row in rows if not row["summarization"].startswith(titles[row["item_id"]])]
    answered = server.call("GET", "/counts")["answered"]
    return {
        "in_the_table": len(rows),
        "in_the_order_of_the_catalogue": written == [id_ for id_ in texts.item_ids if id_ in distinct],
        "failed_and_listed": len(failed),
        "lost": len(there - distinct - {row["item_id"] for row in failed}),
        "doubled": len(written) - len(distinct),
        "with_another_rows_text": len(wrong),
        "answered_well_twice": sum(count > 1 for count in answered.values()),
    }


def cache_cost(folder: Path, rows: int) -> dict:
    """Measure lookups in the cache that the run has filled, and its size."""
    files = list(folder.glob("cache.sqlite*"))
    config = LLMConfig(provider="openai", model="m").completion()
    cache = CachedChatClient(NoModel(), folder / "cache.sqlite")
    keys = [key for (key,) in cache._database.execute("SELECT key FROM replies ORDER BY text LIMIT 50000")]
    started, cpu = time.perf_counter(), time.process_time()
    found = sum(cache.complete([], config, key).cached for key in keys)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    cache.close()
    bytes_used = sum(path.stat().st_size for path in files)
    return {
        "lookups_per_second": round(len(keys) / seconds),
        "cpu_us_per_lookup": round(1e6 * cpu / len(keys), 1),
        "all_found": found == len(keys),
        "bytes_per_row": round(bytes_used / rows, 1),
    }


class NoModel:
    def complete(self, *_: object) -> ChatCompletion:
        raise AssertionError("the cache holds every reply")

    def close(self) -> None:
        pass


def measure(options: argparse.Namespace) -> dict:
    server = Server("--seconds", "0.05", "--faults", str(options.faults))
    try:
        loops = [serial(server, options.serial_rows, "before")]
        server.call("POST", "/reset")
        texts, memory = catalogue(options.rows, "Snow"), Memory()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with memory.watched():
                run = write_rows(server, texts, folder, options.concurrency, memory)
            faults = server.call("GET", "/counts")
            result = {"run": run, "requests": faults["requests"], "faults": faults["faults"]}
            result["table"] = check(server, texts, folder)
            server.call("POST", "/reset", {"faults": 0.0})
            result["same_command_again"] = write_rows(server, texts, folder, options.concurrency, Memory())[
                "counts"
            ]
            result["table_then"] = check(server, texts, folder)
            result["cache"] = cache_cost(folder, options.rows)
        server.call("POST", "/reset", {"faults": options.faults})
        loops.append(serial(server, options.serial_rows, "after"))
    finally:
        server.close()
    rate = sum(loop["rows"] for loop in loops) / sum(loop["seconds"] for loop in loops)
    result["serial"] = {"measured": loops, "rows_per_second": round(rate, 2)}
    result["serial"]["hours_for_all_rows_extrapolated"] = round(options.rows / rate / 3600, 2)
    result["times_the_serial_loop"] = round(run["rows_per_second"] / rate, 1)
    result["memory_mib"] = {f"at {share:.0%}": round(memory.at(share * options.rows), 1) for share in SHARES}
    result["memory_mib"]["peak"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    result["memory_over_time"] = memory.samples[:: max(1, len(memory.samples) // 40)]
    return result


SHARES = (0.02, 0.2, 0.4, 0.6, 0.8, 1.0)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--serial-rows", type=int, default=200, help="measured one by one, before and after")
    parser.add_argument("--faults", type=float, default=0.05)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    machine = {"cores": os.cpu_count(), "load_at_start": os.getloadavg(), "niceness": os.nice(0)}
    result = {
        "settings": {k: v for k, v in vars(options).items() if k != "out"},
        "machine": machine,
        **measure(options),
    }
    result["machine"]["load_at_end"] = os.getloadavg()
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
