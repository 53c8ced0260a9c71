"""One exception tree; each class also derives from the fitting class of the standard library.

A message says what was given, what is allowed, and what to do. `exit_status` is what the command line
returns: 2 where the user's input is wrong, 1 where the fault is ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class HnlmrecError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_status = 1

    def __str__(self) -> str:  # KeyError would show the message's repr, an OSError all arguments as a tuple
        return str(self.args[0]) if self.args else ""


class UserInputError(HnlmrecError):
    """Something that the user gave, or that the user's machine lacks, is wrong."""

    exit_status = 2


class ConfigError(UserInputError, ValueError):
    """A configuration has unknown keys or values out of range; all of them are listed together."""


class UnknownChoiceError(ConfigError):
    """A name that is not in a table of choices (models, samplers, assets, …)."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        self.choices = sorted(choices)
        super().__init__(
            f"unknown {kind} {name!r}{did_you_mean(name, self.choices)} Choose one of: {', '.join(self.choices)}."
        )


class DataError(UserInputError, ValueError):
    """Data with wrong columns or values."""


class MissingFileError(UserInputError, FileNotFoundError):
    """A file or folder that is not there."""


class UnknownIdError(DataError, KeyError):
    """A user or item id that the vocabulary does not hold."""


class CorruptArtifactError(UserInputError, ValueError):
    """An artefact or asset whose content does not match its recorded sha256."""


class AssetUnavailableError(UserInputError, ConnectionError):
    """None of an asset's sources could be reached."""


class MissingDependencyError(UserInputError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed. Run: pip install 'hnlmrec[{extra}]'"
        )


class StorageError(UserInputError, OSError):
    """The disk is full, a folder cannot be written, or a file cannot be read."""


class BusyFolderError(UserInputError, BlockingIOError):
    """Another process works in a folder that one at a time may work in."""


class ProviderError(UserInputError, ConnectionError):
    """An LLM endpoint is not there, refuses the credentials, or does not know the model: no row can succeed."""


class RequestError(HnlmrecError, RuntimeError):
    """One LLM request failed after all retries. The row is recorded as failed; the others go on."""


class ReplyError(HnlmrecError, ValueError):
    """An LLM reply that is truncated, refused or does not parse. Never cached."""


class TrainingDivergedError(HnlmrecError, ArithmeticError):
    """The loss or the embeddings are no longer finite."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return " - did you mean 'x'?" for the nearest choice, or "." where none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" - did you mean {near[0]!r}?" if near else "."


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return `table[name]`, or raise UnknownChoiceError that lists the choices."""
    try:
        return table[name]
    except KeyError:
        raise UnknownChoiceError(kind, name, table) from None
