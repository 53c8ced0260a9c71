"""A small OpenAI-compatible server for tests of the whole pipeline: it answers what the JSON schema allows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def chat_server(**options: Any) -> Iterator[ChatServer]:
    server = ChatServer(**options)
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
        with self.server.lock:
            self.server.prompts.append(json.dumps(body["messages"]))
            number = len(self.server.prompts)
        time.sleep(self.server.seconds)
        schema = body["response_format"]["json_schema"]["schema"]
        nonsense = "{" + str(self.headers["Authorization"])
        text = nonsense if number in self.server.broken else json.dumps(_reply(schema))
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


def _reply(schema: dict[str, Any]) -> dict[str, str]:
    words = {"summarization": "Likes crime and quiet dramas.", "reasoning": "The facts say so.", "name": "Fargo"}
    return {
        name: value["enum"][-1 if name == "disliked" else 0] if "enum" in value else words[name]
        for name, value in schema["properties"].items()
    }
