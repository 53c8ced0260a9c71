"""Frozen, strict configurations, read from TOML and changed by `key=value` overrides.

Every section of a run is a subclass of `Config`. A field made with `runtime()` changes how fast a result is
reached, never the result, so it takes no part in the key of an artefact (`fingerprint_fields`). One made with
`added()` takes part where it differs from its default: what was made before the field was there is still found.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, LiteralString, TypeVar, cast, get_args

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from hnlmrec.errors import ConfigError, MissingFileError, did_you_mean

_NULL = "null"
# How pydantic names the plain members of a union at the end of a problem's location.
_MEMBER = re.compile(r"(constrained-)?(int|float|str|bool)$|literal\[")
_SHORT_NUMBER = re.compile(r"[+-]?(\.\d+|\d+\.)(e[+-]?\d+)?", re.IGNORECASE)  # .5 and 5. are no TOML
_UNSHOWN: LiteralString = "unshown_value"
_NO_CREDENTIALS: LiteralString = (
    "the URL holds a user, a password, a query or a fragment (not shown here: it may be secret). Give the address "
    "alone, and put the key into the environment variable HNLMREC_API_KEY"
)
_RUNTIME: dict[str, JsonValue] = {"runtime": True}
_ADDED: dict[str, JsonValue] = {"added": True}


class Config(BaseModel):
    """Base of every configuration section: frozen, strict, no unknown keys."""

    # No use_attribute_docstrings: pydantic would read the source of each class at every start, for seconds; see
    # `field_docstrings`.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", protected_namespaces=())


C = TypeVar("C", bound=Config)


def without_credentials(url: str) -> str:
    """Return an endpoint's URL; a config is written into manifests and run folders, so that it may hold no key.

    Raises:
        PydanticCustomError: a ValueError that does not show the URL.
    """
    rest = url.partition("://")[2]
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        raise PydanticCustomError(_UNSHOWN, _NO_CREDENTIALS)
    return url


Endpoint = Annotated[str, pydantic.AfterValidator(without_credentials)]
"""URL of an endpoint, without user, password or query."""


def runtime(default: Any, **constraints: Any) -> Any:
    """Declare a field that changes speed but not results. Takes the constraints of `pydantic.Field`."""
    return Field(default, json_schema_extra=_RUNTIME, **constraints)


def added(default: Any, **constraints: Any) -> Any:
    """Declare a field that came later and whose default means "as before". Takes the constraints of `Field`."""
    return Field(default, json_schema_extra=_ADDED, **constraints)


def fingerprint_fields(config: Config) -> dict[str, Any]:
    """Return the config as JSON values, without runtime fields, and without added ones at their default."""
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        nested = getattr(config, name)
        if field.json_schema_extra == _RUNTIME or (field.json_schema_extra == _ADDED and nested == field.default):
            del values[name]
        elif isinstance(nested, Config):
            values[name] = fingerprint_fields(nested)
        elif isinstance(nested, tuple) and any(isinstance(item, Config) for item in nested):
            values[name] = [fingerprint_fields(item) for item in nested]
    return values


def field_docstrings(kind: type[Config]) -> dict[str, str]:
    """Return the docstring of each field of a section that has one, read from the source of its classes."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, Config):
            continue
        try:
            source = inspect.getsource(base)
        except (OSError, TypeError):
            continue  # made by `create_model`: its fields are those of its bases
        body = cast("ast.ClassDef", ast.parse(textwrap.dedent(source)).body[0]).body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(field.target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a missing or malformed one raises an error that names it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(f"there is no configuration file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return `values` with each `a.b.c=value` set; the value is read as TOML (`.5` too), else taken as a string.

    "null", which TOML lacks, is read by `build`: `judge_encoder=null` takes a section away.
    """
    result: dict[str, Any] = json.loads(json.dumps(values, default=str))
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not all(part.strip() for part in key.split(".")):
            raise ConfigError(f"override {override!r} is not of the form KEY=VALUE, for example seed=7.")
        *parents, last = (part.strip() for part in key.split("."))
        section = result
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section.")
        section[last] = _override_value(text.strip())
    return result


def build(kind: type[C], values: Mapping[str, Any], *, where: str = "the configuration") -> C:
    """Validate `values` into a config; every problem is reported in one error.

    Args:
        kind: the config class.
        values: nested values as TOML gives them; TOML has no null, so the string "null" stands for it.
        where: what the values came from, for the message.

    Raises:
        ConfigError: with a line for each unknown key or bad value.
    """
    try:
        # By way of JSON: its strict mode takes a list for a tuple and a string for a date, as TOML has them.
        return kind.model_validate_json(json.dumps(_replaced(values, _NULL, None), default=str))
    except pydantic.ValidationError as error:
        lines = [_describe(kind, problem) for problem in _joined(error.errors(include_url=False))]
        raise ConfigError(f"{where} is not valid:\n" + "\n".join(f"  - {line}" for line in lines)) from None


def to_toml(config: Config) -> str:
    """Write a config as TOML that `read_toml` and `build` turn into the same config."""
    return tomli_w.dumps(_replaced(_without_default_nulls(config), None, _NULL))


def _replaced(value: Any, old: str | None, new: str | None) -> Any:
    """Return nested values with one of them replaced by another, at any depth."""
    if isinstance(value, Mapping):
        return {key: _replaced(inner, old, new) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(inner, old, new) for inner in value]
    return new if value == old else value


def _without_default_nulls(config: Config) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        nested = getattr(config, name)
        if nested is None and field.get_default(call_default_factory=True) is None:
            del values[name]
        elif isinstance(nested, Config):
            values[name] = _without_default_nulls(nested)
        elif isinstance(nested, tuple) and any(isinstance(item, Config) for item in nested):
            values[name] = [_without_default_nulls(item) for item in nested]
    return values


def _override_value(text: str) -> Any:
    if _SHORT_NUMBER.fullmatch(text):
        return float(text)
    try:
        return json.loads(json.dumps(tomllib.loads(f"value = {text}")["value"], default=str))
    except tomllib.TOMLDecodeError:
        return text


def _joined(problems: Iterable[Any]) -> list[dict[str, Any]]:
    """Make one problem of what pydantic says of each member of a union, such as a number or "auto"."""
    joined: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for problem in problems:
        *field, last = problem["loc"] or [""]
        if not (field and _MEMBER.match(str(last))):
            joined[problem["loc"]] = dict(problem)
        elif (place := tuple(field)) in joined:
            joined[place]["msg"] += f", or {problem['msg'].removeprefix('Input should be ')}"
        else:
            joined[place] = problem | {"loc": place}
    return list(joined.values())


def _describe(kind: type[Config], problem: Any) -> str:
    location = problem["loc"]
    name = ".".join(str(part) for part in location) or "(top level)"
    if problem["type"] == "extra_forbidden":
        known = _known_fields(kind, location[:-1])
        return f"{name}: unknown key{did_you_mean(str(location[-1]), known)} Known here: {', '.join(known)}."
    given = "" if problem["type"] in ("missing", _UNSHOWN) else f" (given: {problem['input']!r})"
    return f"{name}: {problem['msg']}{given}"


def _known_fields(kind: type[Config], location: Iterable[str | int]) -> list[str]:
    classes = [kind]
    for part in location:
        fields = [c.model_fields[part].annotation for c in classes if part in c.model_fields]
        if fields:
            classes = [found for annotation in fields for found in _config_classes(annotation)]
        else:  # pydantic names the chosen member of a union by its tag, or an item of a tuple by its place
            classes = [c for c in classes if _tag(c) == part] or classes
    return sorted({name for c in classes for name in c.model_fields})


def _config_classes(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _config_classes(argument)]


def _tag(kind: type[Config]) -> Any:
    return kind.model_fields["name"].default if "name" in kind.model_fields else None
