"""A vLLM server beside a worker, on the worker's GPUs: started with it, gone with it.

vLLM is asked through its OpenAI-compatible endpoint, as any other server is, so the requests, the replies and the
keys of artefacts are those of a vLLM server that somebody else has started.

This module run as a program is the supervisor between the two: it ends the server when its own stdin is closed,
which the system does when the worker dies, however that comes about. A server without a worker would hold its GPU.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from hnlmrec.errors import ProviderError

_START_SECONDS = 1800.0  # a large model may have to be downloaded first
_SHOWN_CHARACTERS = 500


class VLLMServer:
    """Starts `vllm serve MODEL` and waits until it answers.

    Args:
        model: a Hugging Face name or a folder.
        n_gpus: GPUs that one copy of the model is spread over (tensor parallel).
        options: further arguments of `vllm serve`.
        start_seconds: how long it may take to load.

    Raises:
        ProviderError: vLLM is not installed here, or the server did not start.
    """

    def __init__(
        self, model: str, n_gpus: int = 1, options: Sequence[str] = (), start_seconds: float = _START_SECONDS
    ) -> None:
        self._log = Path(tempfile.mkdtemp(prefix="hnlmrec-vllm-")) / "vllm.log"
        port = _free_port()
        command = [_executable(), "serve", model, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--tensor-parallel-size", str(n_gpus), *options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is made here
                [sys.executable, "-m", "hnlmrec.llm.vllm_server", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._wait(f"http://127.0.0.1:{port}/health", time.monotonic() + start_seconds)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self._log.parent, ignore_errors=True)

    def _wait(self, url: str, deadline: float) -> None:
        while not _answers(url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(encoding="utf-8", errors="replace")[-_SHOWN_CHARACTERS:].strip()
                self.close()
                raise ProviderError(
                    f"vLLM did not start on {socket.gethostname()}. The end of what it said: {said or '(nothing)'}"
                )
            time.sleep(0.2)


def _executable() -> str:
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.exists() else shutil.which("vllm")
    if found is None:
        raise ProviderError(
            f"vLLM is not installed on {socket.gethostname()}, and runtime.ray_vllm needs it on each worker. "
            "Run `pip install vllm` on every node with GPUs; or set runtime.ray_vllm=false, and llm.base_url to a "
            "server that is there."
        )
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - a fixed http address
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def supervise(command: Sequence[str]) -> int:
    """Run a command in a group of its own until it ends, or stdin does; return its status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603

    def end_with_stdin() -> None:
        sys.stdin.buffer.read()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    threading.Thread(target=end_with_stdin, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
