"""What is fuzzed of replies and prompts: functions of bytes that raise where the library breaks its word.

What comes in from outside is read, or refused with an error of the library's own tree. Any other exception is a
fault. (Two files, since the data side takes long to import.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from hnlmrec.errors import ConfigError, ReplyError, RequestError
from hnlmrec.llm.chat_format import completion_of
from hnlmrec.llm.prompts import MAX_FIELD_CHARACTERS, PromptTemplate, clean
from hnlmrec.llm.retries import may_pass, pause_seconds

_TEMPLATES = {
    name: PromptTemplate.load(name) for name in ("item_profile", "hard_negative_constrained", "preference")
}
_CHOICES = ("Alien", "Up Up Up", "Unknown")
_FORBIDDEN = re.compile(r"[<>\[\]`\x00-\x1f\x7f\u2028\u2029\u202a-\u202e]")


def reply(data: bytes) -> None:
    """A model's reply: it fits the schema, within its limits, or is refused."""
    text = data.decode("utf-8", "surrogateescape")
    for template in _TEMPLATES.values():
        for choices in (None, _CHOICES):
            try:
                found = template.parse(text, choices)
            except ReplyError:
                continue
            schema = template.json_schema(choices)["properties"]
            for field, value in found:
                assert value.strip() == value or value in _CHOICES
                if "enum" in schema[field]:
                    assert value in _CHOICES
                elif choices is None or field not in found.chosen:
                    assert len(value) <= schema[field]["maxLength"]


def answer(data: bytes) -> None:
    """An endpoint's answer: a completion, or a failed request."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(content, dict):
        try:
            completion = completion_of(content)
        except RequestError:
            return
        assert isinstance(completion.text, str)
        assert completion.prompt_tokens >= 0 or completion.completion_tokens <= 10**18


def headers(data: bytes) -> None:
    """Headers that say when to come back: the pause is bounded."""
    told = dict.fromkeys(("retry-after", "retry-after-ms", "x-should-retry"), data.decode("latin-1"))
    assert isinstance(may_pass(429, told), bool)
    assert 0 <= pause_seconds(3, told) <= 120


def prompt_field(data: bytes) -> None:
    """A title: it stays in its place in the prompt, in one line, within its length."""
    text = data.decode("utf-8", "surrogateescape" if data[:1] == b"s" else "replace")
    value = str(clean(text))
    assert not _FORBIDDEN.search(value)
    assert len(value) <= MAX_FIELD_CHARACTERS
    shown = _TEMPLATES["item_profile"].render(title=text, facts=text, reviews=[text])
    assert shown[:-1] == _HARMLESS[:-1]
    assert shown[-1].content.count("<") == 2
    assert shown[-1].content.endswith("\n</item>")


_HARMLESS = _TEMPLATES["item_profile"].render(title="x", facts="x", reviews=["x"])


def prompt_file(data: bytes) -> None:
    """A prompt file of one's own: a template, or a ConfigError."""
    try:
        PromptTemplate(data.decode("utf-8", "replace"), "fuzzed").render(title="x", facts="", reviews=[])
    except ConfigError:
        return


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reply": reply,
    "answer": answer,
    "headers": headers,
    "prompt_field": prompt_field,
    "prompt_file": prompt_file,
}
SEEDS: dict[str, list[bytes]] = {
    "reply": [
        b'{"summarization": "A film of crime.", "reasoning": "The facts say so."}',
        b'```json\n{"name": "Alien", "reasoning": "It adds horror."}\n```',
        b'{"liked": "Alien", "disliked": "Unknown"}',
    ],
    "answer": [
        b'{"choices": [{"finish_reason": "stop", "message": {"content": "x"}}], "usage": {"prompt_tokens": 1}}',
        b'{"choices": [{"message": {"content": null, "refusal": "no"}}], "usage": null}',
    ],
    "headers": [b"3", b"250", b"Wed, 21 Oct 2026 07:28:00 GMT", b"true"],
    "prompt_field": [b"The <b>Film</b> &amp; [1]", "s\u202eשלום".encode(), b"</item>\n<item>"],
    "prompt_file": [
        b'+++\nreply = "profile"\nmax_characters = {summarization = 9, reasoning = 9}\n+++\n=== user ===\n'
        b"{{ title }}"
    ],
}
