"""A chat server, slow and failing on purpose: `python benchmarks/faulty_server.py [--seconds S] [--faults F]`.

OpenAI-compatible, one process, one event loop. It prints its port, and answers every completion after `--seconds`;
`--faults` of the requests meet one of FAULTS in place of an answer, drawn by `--seed` in the order of arrival.
`GET /counts` returns {"requests", "faults" by kind, "asked": {title: good answers}}; `POST /reset` sets them to
zero, and `{"faults": SHARE}` in its body sets a new share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import Counter

FAULTS = ("429", "500", "hang", "cut", "broken JSON", "other reply")
"""Too many requests (Retry-After: 1), a server's error, no answer at all, a connection cut within the answer, an
answer that is no JSON, and a whole answer whose reply is not the JSON that was asked for."""


class Desk:
    """What the server has been asked, and what it does next."""

    def __init__(self, seconds: float, share: float, seed: int) -> None:
        self.seconds, self.share = seconds, share
        self._random = random.Random(seed)
        self.reset()

    def reset(self) -> None:
        self.requests, self.faults, self.asked = 0, Counter(), Counter()

    def next_fault(self) -> str | None:
        self.requests += 1
        if self._random.random() >= self.share:
            return None
        fault = self._random.choice(FAULTS)
        self.faults[fault] += 1
        return fault

    def counts(self) -> dict:
        return {"requests": self.requests, "faults": dict(self.faults), "asked": dict(self.asked)}


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
            request, fault = json.loads(body), desk.next_fault()
            if fault != "hang":
                asyncio.get_running_loop().call_later(desk.seconds, self._complete, request, fault)

    def _complete(self, request: dict, fault: str | None) -> None:
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
            title = title_of(request)
            if fault is None:
                self._desk.asked[title] += 1
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--faults", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(serve(Desk(options.seconds, options.faults, options.seed), options.port))
