"""A small OpenAI-compatible server for tests of the whole pipeline: it answers what the JSON schema allows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Server = TypeVar("Server", bound=ThreadingHTTPServer)


class ChatServer(ThreadingHTTPServer):
    """Counts the requests; the n-th of them (from 1) may be answered with nonsense or slowly.

    The nonsense holds the request's credentials, as a careless server's might.
    """

    daemon_threads = True

    def __init__(self, *, seconds: float = 0.0, broken: frozenset[int] = frozenset()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seconds, self.broken = seconds, broken
        self.lock = threading.Lock()
        self.prompts: list[str] = []

    def before_answer(self, number: int, port: int) -> bool:
        """Say whether the n-th request, which came from that port, is to be answered."""
        return True

    def reply(self, prompt: str, schema: dict[str, Any]) -> dict[str, str]:
        """Return the words of an answer."""
        words = {
            "summarization": "Likes crime and quiet dramas.",
            "reasoning": "The facts say so.",
            "name": "Fargo",
        }
        return {
            name: value["enum"][-1 if name == "disliked" else 0] if "enum" in value else words[name]
            for name, value in schema["properties"].items()
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def chat_server(**options: Any) -> Iterator[ChatServer]:
    with serving(ChatServer(**options)) as server:
        yield server


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let a server answer, in a thread of its own, until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = json.dumps(body["messages"])
        with self.server.lock:
            self.server.prompts.append(prompt)
            number = len(self.server.prompts)
        if not self.server.before_answer(number, self.client_address[1]):
            return
        time.sleep(self.server.seconds)
        schema = body["response_format"]["json_schema"]["schema"]
        nonsense = "{" + str(self.headers["Authorization"])
        text = nonsense if number in self.server.broken else json.dumps(self.server.reply(prompt, schema))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        data = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass
