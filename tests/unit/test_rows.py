"""The row runner: order, resume, repair, failures, interruption, kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hnlmrec.errors import CorruptArtifactError, ProviderError, RequestError
from hnlmrec.generation.row_file import RowFile
from hnlmrec.generation.rows import RowSummary, RowTask, run_rows
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import ChatCompletion, CompletionConfig, Message
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.llm.scripted import ScriptedChatClient

CONFIG = CompletionConfig(model="scripted")
TEMPLATE = PromptTemplate.load("item_profile")


def good(title: str) -> str:
    return json.dumps({"summarization": f"{title} is a film.", "reasoning": "It is known."})


def title_of(messages: Sequence[Message]) -> str:
    turn = next(message for message in reversed(messages) if message.content.startswith("<item>"))
    return turn.content.splitlines()[1].removeprefix("title: ")


def answer(messages: Sequence[Message], config: CompletionConfig) -> str:
    return good(title_of(messages))


def tasks(n: int, start: int = 0) -> list[RowTask]:
    return [
        RowTask({"item_id": f"i{number}"}, {"title": f"Film {number}", "facts": "", "reviews": []})
        for number in range(start, n)
    ]


def known_row() -> RowTask:
    return RowTask({"item_id": "known"}, {}, given={"summarization": "From the source.", "reasoning": "given"})


class Bench:
    """A folder, a scripted model, and the runner over both."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "rows.jsonl"
        self.failures = folder / "failures.jsonl"
        self.progress: list[tuple[int, int]] = []
        self.client = ScriptedChatClient(answer)

    def run(
        self,
        work: Sequence[RowTask],
        script: Callable[[Sequence[Message], CompletionConfig], str | ChatCompletion] = answer,
        *,
        cache: Path | None = None,
        concurrency: int = 4,
    ) -> RowSummary:
        self.client = ScriptedChatClient(script)
        self.progress = []
        return run_rows(
            iter(work),
            len(work),
            template=TEMPLATE,
            client=CachedChatClient(self.client, cache),
            completion=CONFIG,
            out=self.out,
            failures=self.failures,
            concurrency=concurrency,
            progress=lambda done, total: self.progress.append((done, total)),
        )

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def failed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.failures.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    return Bench(tmp_path)


def test_rows_are_in_task_order_whatever_finishes_first(bench: Bench) -> None:
    def slow_first(messages: Sequence[Message], config: CompletionConfig) -> str:
        time.sleep(0.02 if title_of(messages).endswith("0") else 0)
        return answer(messages, config)

    summary = bench.run(tasks(40), slow_first)
    assert [row["item_id"] for row in bench.rows()] == [f"i{n}" for n in range(40)]
    assert bench.rows()[3] == {"item_id": "i3", "summarization": "Film 3 is a film.", "reasoning": "It is known."}
    assert (summary.requested, summary.succeeded, summary.failed, summary.requests) == (40, 40, 0, 40)
    assert summary.prompt_tokens > summary.completion_tokens > 0
    assert bench.progress[-1] == (40, 40)
    assert bench.failed() == []


def test_no_tasks_make_empty_files(bench: Bench) -> None:
    assert bench.run([]) == RowSummary()
    assert bench.rows() == bench.failed() == []


def test_the_request_holds_the_schema_and_the_choices(bench: Bench) -> None:
    bench.run(tasks(1))
    assert bench.client.requests[0][1].json_schema == TEMPLATE.json_schema()


def test_a_name_that_is_no_candidate_is_repaired_or_fails(tmp_path: Path) -> None:
    template = PromptTemplate.load("hard_negative_constrained")
    fields = {"user_profile": "P", "positive": {"title": "Q"}, "candidates": [{"title": "A", "facts": ""}]}
    client = ScriptedChatClient(lambda messages, config: '{"name": "Z", "reasoning": "It shares much."}')
    summary = run_rows(
        [RowTask({"user_id": "u"}, fields, choices=("A",)), RowTask({"user_id": "v"}, fields, choices=("Z",))],
        2,
        template=template,
        client=CachedChatClient(client, None),
        completion=CONFIG,
        out=tmp_path / "o",
        failures=tmp_path / "f",
    )
    assert (summary.failed, summary.repairs) == (1, 1)
    assert "none of the candidates" in (tmp_path / "f").read_text()


def test_finished_rows_are_not_asked_for_again_and_failed_ones_are(bench: Bench) -> None:
    def broken(messages: Sequence[Message], config: CompletionConfig) -> str:
        if title_of(messages) in ("Film 1", "Film 3"):
            raise RequestError("the server was out of luck.")
        return answer(messages, config)

    first = bench.run(tasks(5), broken)
    assert (first.succeeded, first.failed, first.requests) == (3, 2, 5)
    assert [row["item_id"] for row in bench.failed()] == ["i1", "i3"]
    assert bench.failed()[0] == {
        "item_id": "i1",
        "error": "RequestError",
        "message": "the server was out of luck.",
        "reply": "",
    }
    second = bench.run(tasks(5))
    assert (second.resumed, second.requested, second.succeeded, second.requests) == (3, 2, 2, 2)
    assert [row["item_id"] for row in bench.rows()] == [f"i{n}" for n in range(5)]
    assert bench.failed() == []
    before = bench.out.read_bytes()
    assert bench.run(tasks(5)).requests == 0
    assert bench.out.read_bytes() == before


def test_given_rows_and_problems_need_no_request(bench: Bench) -> None:
    known = {"summarization": "From the source.", "reasoning": "given"}
    work = [
        RowTask({"item_id": "a"}, {}, given=known),
        RowTask({"item_id": "b"}, {}, problem="it has no text."),
        *tasks(1),
    ]
    summary = bench.run(work)
    assert (summary.given, summary.requested, summary.failed, summary.requests) == (1, 2, 1, 1)
    assert bench.rows()[0] == {"item_id": "a", **known}
    assert bench.failed() == [{"item_id": "b", "error": "DataError", "message": "it has no text.", "reply": ""}]


def test_a_run_in_which_every_row_failed_is_told_and_tried_again(bench: Bench) -> None:
    def broken(messages: Sequence[Message], config: CompletionConfig) -> str:
        raise RequestError("status 500 " * 100)

    with pytest.raises(ProviderError, match=r"none of 3 rows .* RequestError: status 500 .* run the same") as told:
        bench.run(tasks(3), broken)
    assert len(str(told.value)) < 1000
    assert str(bench.failures) in str(told.value)
    assert [row["item_id"] for row in bench.failed()] == ["i0", "i1", "i2"]
    assert bench.run(tasks(3)).succeeded == 3
    assert bench.failed() == []


def test_failures_beside_rows_that_were_there_or_given_are_recorded_only(bench: Bench) -> None:
    def broken(messages: Sequence[Message], config: CompletionConfig) -> str:
        raise RequestError("no luck.")

    assert bench.run([known_row(), *tasks(2)], broken).failed == 2
    assert bench.run([known_row(), *tasks(2)], broken).resumed == 1
    assert bench.run([known_row()], broken).failed == 0


def test_one_repair_is_tried_with_the_error_told(bench: Bench, tmp_path: Path) -> None:
    def second_time(messages: Sequence[Message], config: CompletionConfig) -> str:
        return answer(messages, config) if "cannot be used" in messages[-1].content else '{"summarization": "No'

    summary = bench.run(tasks(1), second_time, cache=tmp_path / "c")
    assert (summary.succeeded, summary.repairs, summary.requests) == (1, 1, 2)
    repair = bench.client.requests[1][0]
    assert "JSON" in repair[-1].content
    assert repair[-2] == Message("assistant", '{"summarization": "No')
    bench.out.unlink()
    assert bench.run(tasks(1), second_time, cache=tmp_path / "c").requests == 0


def test_a_reply_that_stays_bad_is_a_failure_and_never_cached(bench: Bench, tmp_path: Path) -> None:
    bad = "no JSON " * 200
    for _ in range(2):
        with pytest.raises(ProviderError, match="the reply holds no JSON object"):
            bench.run(tasks(1), lambda messages, config: bad, cache=tmp_path / "c")
        assert len(bench.client.requests) == 2
    failure = bench.failed()[0]
    assert failure["error"] == "ReplyError"
    assert len(failure["reply"]) == 500


def test_truncated_replies_are_repaired_and_refused_ones_are_not(bench: Bench) -> None:
    def reasons(messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        reason = "content_filter" if title_of(messages) == "Film 0" else "length"
        return ChatCompletion(good("x"), reason, 5, 5)

    summary = bench.run([*tasks(2), known_row()], reasons)
    assert (summary.failed, summary.requests, summary.repairs) == (2, 3, 1)
    assert "refused" in bench.failed()[0]["message"]
    assert "cut off" in bench.failed()[1]["message"]


def test_a_cached_reply_costs_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.run(tasks(3), cache=tmp_path / "c")
    bench.out.unlink()
    summary = bench.run(tasks(4), cache=tmp_path / "c")
    assert (summary.cache_hits, summary.requests, summary.succeeded) == (3, 1, 4)


def test_retries_are_counted(bench: Bench) -> None:
    summary = bench.run(tasks(2), lambda m, c: ChatCompletion(good("x"), "stop", 3, 4, retries=2))
    assert (summary.retries, summary.prompt_tokens, summary.completion_tokens) == (4, 6, 8)


@pytest.mark.parametrize("stop", [ProviderError("the key is refused."), KeyboardInterrupt()])
def test_what_is_in_flight_when_a_run_ends_is_kept(bench: Bench, stop: BaseException) -> None:
    barrier = threading.Barrier(4)

    def until_film_3(messages: Sequence[Message], config: CompletionConfig) -> str:
        if title_of(messages) in {"Film 0", "Film 1", "Film 2", "Film 3"}:
            barrier.wait(timeout=10)
        if title_of(messages) == "Film 3":
            raise stop
        time.sleep(0.05)
        return answer(messages, config)

    with pytest.raises(type(stop)):
        bench.run(tasks(100), until_film_3)
    assert len(bench.client.requests) <= 4
    assert {row["item_id"] for row in bench.rows()} >= {"i0", "i1", "i2"}
    summary = bench.run(tasks(100))
    assert summary.requests + summary.resumed == 100
    assert [row["item_id"] for row in bench.rows()] == [f"i{n}" for n in range(100)]


def test_counts_go_on_over_interrupted_calls(bench: Bench) -> None:
    def until_film_30(messages: Sequence[Message], config: CompletionConfig) -> str | ChatCompletion:
        if title_of(messages) == "Film 30":
            raise KeyboardInterrupt
        if title_of(messages) == "Film 7":
            raise RequestError("no luck.")
        return ChatCompletion(answer(messages, config), "stop", 10, 2, retries=1)

    with pytest.raises(KeyboardInterrupt):
        bench.run(tasks(40), until_film_30, concurrency=1)
    counts = bench.out.with_name("rows.calls.json")
    kept = json.loads(counts.read_text())
    assert (kept["succeeded"], kept["failed"], kept["requests"], kept["prompt_tokens"]) == (29, 1, 30, 290)
    summary = bench.run(tasks(40), lambda m, c: ChatCompletion(answer(m, c), "stop", 10, 2))
    result = summary.counts()
    assert (result["requests"], result["resumed"], result["prompt_tokens"], result["retries"]) == (11, 29, 110, 0)
    assert result["all_calls"] == {
        "succeeded": 40,
        "failed": 1,
        "cache_hits": 0,
        "requests": 41,
        "prompt_tokens": 400,
        "completion_tokens": 80,
        "retries": 29,
        "repairs": 0,
    }
    assert json.loads(counts.read_text()) == result["all_calls"]


def test_a_reply_cut_short_by_the_end_of_the_run_is_paid_for_too(bench: Bench) -> None:
    barrier = threading.Barrier(2)

    def one_ends_it(messages: Sequence[Message], config: CompletionConfig) -> ChatCompletion:
        barrier.wait(timeout=10)
        if title_of(messages) == "Film 0":
            raise ProviderError("the key is refused.")
        time.sleep(0.2)
        return ChatCompletion("no JSON", "stop", 10, 2)

    with pytest.raises(ProviderError):
        bench.run(tasks(2), one_ends_it, concurrency=2)
    kept = json.loads(bench.out.with_name("rows.calls.json").read_text())
    assert (kept["requests"], kept["prompt_tokens"], kept["failed"]) == (1, 10, 0)


@pytest.mark.parametrize("content", ["", "[]", '{"requests": 3}', "\xff"])
def test_counts_of_something_else_are_told(bench: Bench, content: str) -> None:
    bench.out.with_name("rows.calls.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CorruptArtifactError, match=r"rows\.calls\.json"):
        bench.run(tasks(1))


def test_summaries_add_up() -> None:
    one = RowSummary(requested=1, requests=2, earlier=RowSummary(requests=5))
    other = RowSummary(requests=3, earlier=RowSummary(requests=7, retries=1))
    total = one + RowSummary(requests=4) + other
    assert (total.requested, total.requests) == (1, 9)
    assert (total.all_calls()["requests"], total.all_calls()["retries"]) == (21, 1)


def test_tasks_are_read_as_they_are_needed(bench: Bench) -> None:
    read = 0

    def counted() -> Iterator[RowTask]:
        nonlocal read
        for task in tasks(1000):
            read += 1
            yield task

    def stop_soon(messages: Sequence[Message], config: CompletionConfig) -> str:
        raise ProviderError("gone.")

    with pytest.raises(ProviderError):
        run_rows(
            counted(),
            1000,
            template=TEMPLATE,
            client=CachedChatClient(ScriptedChatClient(stop_soon), None),
            completion=CONFIG,
            out=bench.out,
            failures=bench.failures,
            concurrency=4,
        )
    assert read <= 4


def test_a_cut_last_line_is_dropped_and_written_anew(bench: Bench) -> None:
    bench.run(tasks(5))
    whole = bench.out.read_bytes()
    bench.out.write_bytes(whole[:-20])
    summary = bench.run(tasks(5))
    assert (summary.resumed, summary.requests) == (4, 1)
    assert bench.out.read_bytes() == whole


def test_a_file_of_something_else_is_told(bench: Bench) -> None:
    bench.out.write_text("not ours\n")
    with pytest.raises(CorruptArtifactError, match="line 1"):
        bench.run(tasks(1))
    assert bench.out.read_text() == "not ours\n"


def test_a_full_disk_loses_no_row(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    append, written = RowFile.append, 0

    def full_after_three(self: RowFile, rows: dict[int, dict[str, Any]]) -> None:
        nonlocal written
        if written == 3:
            self._file.write(b'{"item_id": "half')
            self._file.truncate(self._end)
            raise OSError(errno.ENOSPC, "No space left on device")
        written += len(rows)
        append(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RowFile, "append", full_after_three)
        with pytest.raises(OSError, match="No space") as caught:
            bench.run(tasks(10), concurrency=1)
    assert caught.value.errno == errno.ENOSPC
    assert len(bench.rows()) == 3
    summary = bench.run(tasks(10))
    assert (summary.resumed, summary.requests) == (3, 7)


def test_an_append_that_fails_half_way_leaves_no_half_row(tmp_path: Path) -> None:
    class Full:
        def __init__(self, file: Any) -> None:
            self._inner = file

        def write(self, data: bytes) -> int:
            if len(data) > 30:
                return self._inner.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    with RowFile.open(tmp_path / "f", resume=True) as file:
        file.append({0: {"item_id": "a"}})
        file._file = Full(file._file)
        with pytest.raises(OSError, match="No space"):
            file.append({1: {"item_id": "b", "text": "x" * 40}})
    assert (tmp_path / "f").read_text() == '{"item_id": "a"}\n'


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_rows import *
folder = Path({folder!r})
def logged(messages, config):
    with (folder / "requests.log").open("a") as log:
        log.write(title_of(messages) + "\\n")
    time.sleep(0.02)
    return answer(messages, config)
Bench(folder).run(tasks(60), logged, cache=None, concurrency=4)
"""


def test_kill_9_repeats_at_most_the_requests_in_flight(tmp_path: Path) -> None:
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    log, out = tmp_path / "requests.log", tmp_path / "rows.jsonl"
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not out.exists() or out.read_bytes().count(b"\n") < 20:
        assert child.poll() is None, "the child ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    asked = log.read_text().splitlines()
    assert 20 <= len(asked) < 60
    subprocess.run([sys.executable, "-c", code], check=True)
    everything = log.read_text().splitlines()
    assert len(set(everything)) == 60
    assert len(everything) - 60 <= 4
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["item_id"] for row in rows] == [f"i{n}" for n in range(60)]
    kept = json.loads((tmp_path / "rows.calls.json").read_text())
    # Counts are written every 20 rows, after the rows that were ready together.
    assert 60 - 20 - 4 < kept["requests"] <= len(everything)
