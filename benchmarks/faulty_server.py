"""A chat server, slow and failing on purpose: `python benchmarks/faulty_server.py [--seconds S] [--faults F]`.

OpenAI-compatible, one process, one event loop. It prints its port, and answers every completion after `--seconds`;
`--faults` of the requests meet one of FAULTS in place of an answer, drawn by `--seed` in the order of arrival.
`GET /counts` returns {"requests", "faults" by kind, "asked" (requests) and "answered" (well) by title};
`POST /reset` sets them to zero, and `{"faults": SHARE}` in its body sets a new share.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

FAULTS = ("429", "500", "hang", "cut", "broken JSON", "other reply")
"""Too many requests (Retry-After: 1), a server's error, no answer at all, a connection cut within the answer, an
answer that is no JSON, and a whole answer whose reply is not the JSON that was asked for."""


class Desk:
    """What the server has been asked, and what it does next."""

    def __init__(self, seconds: float, share: float, kinds: list[str], seed: int) -> None:
        self.seconds, self.share, self._kinds = seconds, share, kinds
        self._random = random.Random(seed)
        self.reset()

    def reset(self) -> None:
        self.requests, self.faults, self.asked, self.answered = 0, Counter(), Counter(), Counter()

    def next_fault(self, title: str) -> str | None:
        self.requests += 1
        self.asked[title] += 1
        if self._random.random() >= self.share:
            return None
        fault = self._random.choice(self._kinds)
        self.faults[fault] += 1
        return fault

    def counts(self) -> dict:
        counts = {"faults": self.faults, "asked": self.asked, "answered": self.answered}
        return {"requests": self.requests, **{name: dict(counter) for name, counter in counts.items()}}


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._data = desk, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            _, _, rest = head.partition(b"content-length:")
            length = int(rest.partition(b"\r\n")[0]) if rest else 0
            if len(self._data) < end + 4 + length:
                return
            body = self._data[end + 4 : end + 4 + length]
            self._data = self._data[end + 4 + length :]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
        desk = self._desk
        if head.startswith(b"get /counts"):
            self._answer(desk.counts())
        elif head.startswith(b"post /reset"):
            desk.reset()
            desk.share = json.loads(body or b"{}").get("faults", desk.share)
            self._answer({})
        else:
            request = json.loads(body)
            title = title_of(request)
            fault = desk.next_fault(title)
            if fault != "hang":
                asyncio.get_running_loop().call_later(desk.seconds, self._complete, request, title, fault)

    def _complete(self, request: dict, title: str, fault: str | None) -> None:
        if self._transport.is_closing():
            return
        if fault in ("429", "500"):
            error = {"error": {"message": f"a planned {fault}", "code": None}}
            self._answer(error, int(fault), "Retry-After: 1\r\n" if fault == "429" else "")
        elif fault == "cut":
            self._transport.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices": [')
            self._transport.close()
        elif fault == "broken JSON":
            self._send(b'{"choices": [{"message": {"content": "half', 200)
        else:
            if fault is None:
                self._desk.answered[title] += 1
            self._answer(completion("I had rather not." if fault else json.dumps(reply(request, title))))

    def _answer(self, content: dict, status: int = 200, headers: str = "") -> None:
        self._send(json.dumps(content).encode(), status, headers)

    def _send(self, data: bytes, status: int, headers: str = "") -> None:
        headers += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        self._transport.write(f"HTTP/1.1 {status} X\r\n{headers}\r\n".encode() + data)


def title_of(request: dict) -> str:
    """Return the first line of data of the last question: the item, or the user, that it is about."""
    questions = (m["content"] for m in reversed(request["messages"]) if m["content"].startswith("<"))
    return next(questions).splitlines()[1].partition(": ")[2]


def reply(request: dict, title: str) -> dict[str, str]:
    """Return what fits the schema: about the title alone, so that a row does not depend on when it was asked."""
    properties = request["response_format"]["json_schema"]["schema"]["properties"]
    words = {"summarization": f"{title} is told well.", "reasoning": "The facts say so.", "name": f"Not {title}"}
    return {name: value["enum"][0] if "enum" in value else words[name] for name, value in properties.items()}


def completion(text: str) -> dict:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 400, "completion_tokens": 40, "total_tokens": 440}
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "created": 0,
        "choices": [choice],
        "usage": usage,
    }


async def serve(desk: Desk, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(desk), "127.0.0.1", port, backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Server:
    """This server in a process of its own, for whoever imports this file.

    Args:
        options: the command line's.
    """

    def __init__(self, *options: str) -> None:
        command = [sys.executable, __file__, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, json.dumps(body or {}))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def cpu_seconds(self) -> float:
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes the pipe as well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--faults", type=float, default=0.05)
    parser.add_argument("--kinds", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(serve(Desk(options.seconds, options.faults, options.kinds, options.seed), options.port))
