"""Prompts as package data, and the replies that they ask for.

A prompt is a Markdown file: a TOML head between `+++` lines (the kind of reply, the longest text of each field),
then the turns, each after a line such as `=== user ===`. Turns are Jinja templates; a missing field is an error.
Worked examples are turns of their own, the same in every request, so that a server computes them once.

What is filled in is untrusted (titles, reviews, other replies): every `{{ … }}` goes through `clean`, which folds
it to one line and takes away the characters that close a delimiter or make up a model's control tokens.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import tomllib
import unicodedata
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import jinja2
import pydantic
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from hnlmrec.errors import ConfigError, MissingFileError, ReplyError, UnknownChoiceError
from hnlmrec.llm.client import Message
from hnlmrec.llm.reply_text import checked_text

Role = Literal["system", "user", "assistant"]

MAX_FIELD_CHARACTERS = 1200
_HEAD = re.compile(r"\A\+\+\+\n(.*?)\n\+\+\+\n", re.DOTALL)
_TURN = re.compile(r"^=== (system|user|assistant) ===$", re.MULTILINE)
# A template is code: besides jinja's own errors, its expressions may fail as those of Python do.
_TEMPLATE_FAULTS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
_TEMPLATE = re.compile(r"\{[{%#]")
_FOLDED = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "`": "'"})
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


class Profile(BaseModel):
    """What an item is and who enjoys it, or what a user likes; and why."""

    model_config = ConfigDict(frozen=True, strict=True)
    chosen: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are one of the given choices, where there are any."""
    summarization: str
    reasoning: str


class HardNegative(BaseModel):
    """The name of an item that fits the user at first sight, but that the user would not choose; and why."""

    model_config = ConfigDict(frozen=True, strict=True)
    chosen: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    reasoning: str


class Preference(BaseModel):
    """Of some items, the one that the user would like most, and the one that it would like least."""

    model_config = ConfigDict(frozen=True, strict=True)
    chosen: ClassVar[tuple[str, ...]] = ("liked", "disliked")
    liked: str
    disliked: str

    @model_validator(mode="after")
    def _are_two(self) -> Preference:
        if self.liked == self.disliked:
            raise ValueError("liked and disliked must be two different items")
        return self


Reply = Profile | HardNegative | Preference
REPLIES: dict[str, type[Profile] | type[HardNegative] | type[Preference]] = {
    "profile": Profile,
    "hard_negative": HardNegative,
    "preference": Preference,
}


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    reply: Literal["profile", "hard_negative", "preference"]
    max_characters: dict[str, int]


class PromptTemplate:
    """A prompt and the reply that belongs to it.

    Args:
        text: a prompt file's content.
        name: for messages.

    Raises:
        ConfigError: the text is not of the format above.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._text = text
        head = _HEAD.match(text)
        if head is None:
            raise ConfigError(f"the prompt {name!r} has no head between two +++ lines.")
        try:
            settings = _Head.model_validate(tomllib.loads(head[1]))
            self._turns = _turns(text[head.end() :])
        except (tomllib.TOMLDecodeError, ValidationError, *_TEMPLATE_FAULTS) as error:
            raise ConfigError(f"the prompt {name!r} is not valid: {error}.") from None
        self._reply = REPLIES[settings.reply]
        self._limits = settings.max_characters
        if set(self._limits) != set(self._reply.model_fields) or not self._turns:
            fields = ", ".join(self._reply.model_fields)
            raise ConfigError(f"the prompt {name!r} needs turns, and max_characters for exactly: {fields}.")

    @classmethod
    def load(cls, name: str) -> PromptTemplate:
        """Load a prompt of this package by its name, or the user's own by the path of its .md file."""
        if name.endswith(".md"):
            try:
                return cls(Path(name).read_text(encoding="utf-8"), name)
            except FileNotFoundError:
                raise MissingFileError(f"there is no prompt file {name}.") from None
        folder = resources.files("hnlmrec.llm").joinpath("prompts")
        names = sorted(path.name.removesuffix(".md") for path in folder.iterdir() if path.name.endswith(".md"))
        if name not in names:
            raise UnknownChoiceError("prompt", name, names)
        return cls(folder.joinpath(f"{name}.md").read_text(encoding="utf-8"), name)

    def __reduce__(self) -> tuple[type[PromptTemplate], tuple[str, str]]:
        """Let a template travel to a worker process as its text."""
        return PromptTemplate, (self._text, self.name)

    @property
    def fingerprint(self) -> str:
        """sha256 of the text and of the reply's schema, 16 hex digits: the version of the prompt."""
        content = json.dumps([self._text, self.json_schema()], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def render(self, **fields: Any) -> list[Message]:
        """Fill in the fields.

        Raises:
            ConfigError: the template names a field that is not given, or asks for what cannot be done with it.
        """
        try:
            return [
                turn if isinstance(turn, Message) else Message(turn[0], turn[1].render(**fields).strip())
                for turn in self._turns
            ]
        except _TEMPLATE_FAULTS as error:
            raise ConfigError(f"the prompt {self.name!r} cannot be filled in: {error}.") from None

    def json_schema(self, choices: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the reply; texts are bounded, so that a constrained model comes to an end.

        Args:
            choices: the only names that a hard negative, or an item of a preference, may have; None for any.
        """
        properties: dict[str, Any] = {
            field: {"type": "string", "minLength": 1, "maxLength": self._limits[field]}
            for field in self._reply.model_fields
        }
        if choices is not None:
            properties |= {field: {"type": "string", "enum": list(choices)} for field in self._reply.chosen}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def repair_schema(self, reply: str, choices: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the schema of a second reply, after one that could not be used.

        Where a reply picks several items, the first one that it picked stays, and the others are of those left: a
        small model that names one item twice does so again when it is merely asked for another.

        Args:
            reply: the first one.
            choices: see `json_schema`.
        """
        schema = self.json_schema(choices)
        fields = [field for field in self._reply.chosen if "enum" in schema["properties"][field]]
        if choices is None or len(fields) < 2:
            return schema
        picked = _picked(reply, fields[0])
        if picked in choices:
            for field in fields:
                left = [picked] if field == fields[0] else [name for name in choices if name != picked]
                schema["properties"][field]["enum"] = left
        return schema

    def parse(self, text: str, choices: Sequence[str] | None = None) -> Reply:
        """Read a reply, also one in a code fence or with words around the JSON object.

        Args:
            text: the reply.
            choices: the only names that there may be, as for `json_schema`. Such a name is compared
                with them and not judged as a text: "Unknown" and "Up Up Up" are titles too.

        Raises:
            ReplyError: no such object, a name that is none of the choices, or a text that is empty, "None", cut
                off or caught in a loop.
        """
        start, end = text.find("{"), text.rfind("}")
        if start < 0 or end < start:
            raise ReplyError("the reply holds no JSON object.")
        try:
            reply = self._reply.model_validate_json(text[start : end + 1])
        except pydantic.ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'JSON'}: {e['msg']}" for e in error.errors())
            raise ReplyError(f"the reply does not fit the schema: {problems[:300]}.") from None
        values = {
            field: _chosen(value, choices)
            if field in self._reply.chosen and choices is not None
            else checked_text(value, field, limit=self._limits[field])
            for field, value in iter(reply)
        }
        return self._reply(**values)


def _picked(reply: str, field: str) -> object:
    """Return what a reply, of whatever form, has in a field; None for nothing."""
    try:
        value = json.loads(reply[reply.find("{") : reply.rfind("}") + 1])
    except json.JSONDecodeError:
        return None
    return value.get(field) if isinstance(value, dict) else None


def clean(value: object) -> object:
    """Make an untrusted text safe to stand inside a delimiter; numbers and template markup pass as they are.

    HTML entities are resolved; control and invisible characters and runs of white space become one space; `<`,
    `>`, square brackets and backticks are replaced by look-alikes; the length is bounded by MAX_FIELD_CHARACTERS.
    """
    if not isinstance(value, str):
        return value
    text = html.unescape(value)
    if not text.isprintable():  # what is printable has none of these categories; most titles are
        text = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in text)
    text = unicodedata.normalize("NFC", " ".join(text.split())).translate(_FOLDED)
    return shortened(text, MAX_FIELD_CHARACTERS)


def shortened(text: str, limit: int) -> str:
    """Cut a text at a word's end so that it has at most `limit` characters, an ellipsis included."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    return (head.rsplit(" ", 1)[0] or head) + "…"


def _chosen(name: str, choices: Sequence[str]) -> str:
    if name in choices:
        return name
    words = name.split()  # white space apart
    for choice in choices:
        if choice.split() == words:
            return choice
    raise ReplyError(f"the name {name[:80]!r} is none of the candidates.")


class _PromptEnvironment(ImmutableSandboxedEnvironment):
    """Templates of prompts: they are passed around as text files, so they may fill in fields and do nothing else.

    Autoescape is off, since prompts are no HTML; `clean` guards every value.
    """

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
        """Refuse what takes a line to fill the memory."""
        del context, left, right
        raise SecurityError(f"a prompt may not use {operator}")


def _turns(body: str) -> list[Message | tuple[Role, jinja2.Template]]:
    """Return the turns; one without a field is a message already."""
    environment = _PromptEnvironment(
        undefined=jinja2.StrictUndefined, finalize=clean, trim_blocks=True, lstrip_blocks=True
    )
    parts = _TURN.split(body)
    roles = cast(list[Role], parts[1::2])
    return [
        (role, environment.from_string(text)) if _TEMPLATE.search(text) else Message(role, text.strip())
        for role, text in zip(roles, parts[2::2], strict=True)
    ]
