"""Ctrl-C at any step of the row runner: nothing that was answered is asked for again."""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hnlmrec.generation.rows import RowTask, run_rows
from hnlmrec.llm.cache import CachedChatClient
from hnlmrec.llm.client import CompletionConfig, Message
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.llm.scripted import ScriptedChatClient

N_ROWS = 3
FILES = ("generation/rows.py", "generation/row_workers.py", "generation/row_file.py")
REPLY = json.dumps({"summarization": "It is a film.", "reasoning": "It is known."})
TEMPLATE = PromptTemplate.load("item_profile")


def run(folder: Path, answered: Counter[str]) -> None:
    def script(messages: Sequence[Message], _: CompletionConfig) -> str:
        answered[messages[-1].content.splitlines()[1]] += 1
        return REPLY

    run_rows(
        (RowTask({"item_id": f"i{n}"}, {"title": str(n), "facts": "", "reviews": []}) for n in range(N_ROWS)),
        N_ROWS,
        template=TEMPLATE,
        client=CachedChatClient(ScriptedChatClient(script), None),
        completion=CompletionConfig(model="scripted"),
        out=folder / "rows.jsonl",
        failures=folder / "failures.jsonl",
        concurrency=2,
    )


def interrupted_at(step: int, work: Callable[[], None]) -> bool:
    """Raise KeyboardInterrupt at this line of FILES, of those that the main thread runs; tell whether it did."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


# Between the call that opens a file and the `with` that closes it, an interruption leaves that to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_answer_is_lost_wherever_the_interruption_falls(tmp_path: Path) -> None:
    lost = []
    step, interrupted = 0, True
    while interrupted:
        step += 1
        folder, answered = tmp_path / str(step), Counter[str]()
        interrupted = interrupted_at(step, lambda folder=folder, answered=answered: run(folder, answered))
        run(folder, answered)
        rows = [json.loads(line)["item_id"] for line in (folder / "rows.jsonl").read_text().splitlines()]
        assert rows == [f"i{n}" for n in range(N_ROWS)]
        if answered != {f"title: {n}": 1 for n in range(N_ROWS)}:
            lost.append((step, dict(answered)))
    assert step > 100, "the trace does not see the runner's lines"
    assert lost == []
    gc.collect()  # here, where the warning is expected
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("row")]
