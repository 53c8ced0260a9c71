"""A generation that is killed ten times: `python -m experiments.ten_kills [--kills 10] [--out FILE]`.

`hnlmrec run --until profiles` writes 1,060 profiles against a server that answers after 50 ms and meets 5 % of the
requests with faults. It is ended at random moments, by SIGINT and by `kill -9` in turn, and started again by the
same command, until it has been ended `--kills` times; then it may finish. The table must be that of a run that
nobody disturbed, and no row that was in the file when a run ended may be asked for again. An answer is lost if its
row is not in the file when the run has ended: none by SIGINT, by `kill -9` at most those that were in flight.
Prints one JSON object.

Answers are counted for the items alone, by their titles: the server knows a question by its first line, and those
of two users may begin with the same film. All ends come while the items are at work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faulty_server import Server

N_ITEMS, N_USERS, CONCURRENCY = 1000, 60, 4
KINDS = ("429", "500", "cut", "broken JSON")  # each passes, so that no row may be missing in the end
CONFIG = """
name = "kills"
[data]
source = "films"
[llm]
provider = "openai"
model = "m"
concurrency = {concurrency}
"""


def prepare(folder: Path) -> None:
    """Write a data set and a configuration."""
    films = folder / "films"
    films.mkdir()
    rng = random.Random(0)
    lines = [f"u{user},i{item}" for user in range(N_USERS) for item in rng.sample(range(N_ITEMS), 25)]
    lines += [f"u{item % N_USERS},i{item}" for item in range(N_ITEMS)]  # every item has somebody
    (films / "interactions.csv").write_text("\n".join(["user_id,item_id", *dict.fromkeys(lines)]) + "\n")
    items = [{"item_id": f"i{n}", "title": f"The Film, Part {n}", "categories": ["Crime"]} for n in range(N_ITEMS)]
    (films / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "kills.toml").write_text(CONFIG.format(concurrency=CONCURRENCY))


def start(folder: Path, url: str, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "hnlmrec", "run", "kills.toml", "--until", "profiles", "--json"]
    return subprocess.Popen(
        [*command, f"llm.base_url={url}", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell ignores SIGINT for what it starts in the background, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )


def rows_of(folder: Path) -> Iterator[dict]:
    """Yield the whole lines of the row files that are at work."""
    for file in folder.glob("artifacts/profiles/*.partial/*_profiles.jsonl"):
        yield from map(json.loads, file.read_bytes().rpartition(b"\n")[0].splitlines())


def end_somewhere(process: subprocess.Popen, folder: Path, number: signal.Signals, moment: float) -> dict:
    """Wait for a row that was not there, then `moment` seconds, and send the signal."""
    before = sum(1 for _ in rows_of(folder))
    while sum(1 for _ in rows_of(folder)) <= before:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    time.sleep(moment)
    assert process.poll() is None, "it was done before it could be ended"
    process.send_signal(number)
    process.communicate(timeout=120)
    status = 130 if number == signal.SIGINT else -signal.SIGKILL
    assert process.returncode == status, process.returncode
    return {"signal": number.name, "after_seconds": round(moment, 3), "rows_before": before}


def measure(kills: int, faults: float = 0.05) -> dict:
    moments = random.SystemRandom()
    server = Server("--seconds", "0.05", "--faults", str(faults), "--kinds", *KINDS)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder)
            ends, seen, lost = [], {}, 0
            for number in range(kills):
                kind = signal.SIGINT if number % 2 == 0 else signal.SIGKILL
                process = start(folder, server.url)
                ends.append(end_somewhere(process, folder, kind, moments.uniform(0.0, 0.8)))
                counts = server.call("GET", "/counts")
                finished = {row["item_id"] for row in rows_of(folder) if "item_id" in row}
                seen |= {id_: counts["asked"][title(id_)] for id_ in finished if id_ not in seen}
                ends[-1]["rows_after"] = len(finished)
                ends[-1]["answers_lost"] = sum(answers(counts)) - len(finished) - lost
                lost += ends[-1]["answers_lost"]
                print(ends[-1], file=sys.stderr, flush=True)
            disturbed = tables(folder, start(folder, server.url))
            counts = server.call("GET", "/counts")
            others = ("runtime.artifacts=others", "runtime.runs=other")
            undisturbed = tables(folder, start(folder, server.url, *others))
    finally:
        server.close()
    assert len(seen) < N_ITEMS, "the last end came too late: the items were done"
    again = [id_ for id_, times in seen.items() if counts["asked"][title(id_)] != times]
    twice = sum(count - 1 for count in answers(counts))
    return {
        "rows": N_ITEMS + N_USERS,
        "concurrency": CONCURRENCY,
        "ends": ends,
        "same_table": disturbed == undisturbed,
        "finished_rows_asked_again": len(again),
        "answers_paid_for_twice": twice,
        "at_most": CONCURRENCY * sum(end["signal"] == "SIGKILL" for end in ends),
        "requests": counts["requests"],
        "faults": counts["faults"],
    }


def title(id_: str) -> str:
    return f"The Film, Part {id_[1:]}"


def answers(counts: dict) -> list[int]:
    """Return how often each item was answered, of those that were."""
    titles = {title(f"i{number}") for number in range(N_ITEMS)}
    return [count for name, count in counts["answered"].items() if name in titles]


def tables(folder: Path, process: subprocess.Popen) -> dict[str, str]:
    """Wait for the end; return the sha256 of each table."""
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    stages = {stage["stage"]: folder / stage["path"] for stage in json.loads(stdout)["stages"]}
    return {
        kind: hashlib.sha256((stages["profiles"] / f"{kind}_profiles.jsonl").read_bytes()).hexdigest()
        for kind in ("item", "user")
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = json.dumps(measure(options.kills), indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
