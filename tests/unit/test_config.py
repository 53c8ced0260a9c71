from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import pytest
from pydantic import Field

from hnlmrec.config import (
    Config,
    apply_overrides,
    build,
    field_docstrings,
    fingerprint_fields,
    read_toml,
    runtime,
    to_toml,
)
from hnlmrec.errors import ConfigError, MissingFileError, UnknownChoiceError, lookup


class Inner(Config):
    learning_rate: float = Field(1e-3, gt=0)
    """Step size."""
    ks: tuple[int, ...] = (10, 20)
    """Cut-offs."""
    threads: int = runtime(2, ge=1)
    """Speed only."""


class Outer(Config):
    seed: int = Field(0, ge=0)
    """Seed."""
    name: str = "x"
    """Name."""
    since: date | None = None
    """A day."""
    inner: Inner = Inner()
    """A section."""
    many: tuple[Inner, ...] = ()
    """Several sections."""


def test_toml_round_trip(tmp_path: Path) -> None:
    config = Outer(
        seed=3,
        name="ä = 'b'\n",
        since=date(2020, 1, 2),
        inner=Inner(ks=(5,)),
        many=(Inner(learning_rate=0.5), Inner()),
    )
    (tmp_path / "c.toml").write_text(to_toml(config), encoding="utf-8")
    assert build(Outer, read_toml(tmp_path / "c.toml")) == config


def test_native_toml_dates_and_whole_numbers_are_taken(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("since = 2020-01-02\n[inner]\nlearning_rate = 1\n")
    config = build(Outer, read_toml(tmp_path / "c.toml"))
    assert config.since == date(2020, 1, 2)
    assert config.inner.learning_rate == 1.0


def test_all_problems_are_reported_together_with_suggestions() -> None:
    values = {"seed": -1, "nam": "y", "inner": {"learning_rte": 1, "ks": "all"}, "many": [{"thread": 1}]}
    with pytest.raises(ConfigError) as caught:
        build(Outer, values, where="demo.toml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "demo.toml is not valid:"
    assert len(lines) == 6
    for words in (
        "nam: unknown key - did you mean 'name'?",
        "inner.learning_rte: unknown key - did you mean 'learning_rate'? Known here: ks, learning_rate, threads.",
        "seed: Input should be greater than or equal to 0 (given: -1)",
        "inner.ks: ",
        "many.0.thread: unknown key - did you mean 'threads'?",
    ):
        assert words in str(caught.value)
    assert caught.value.exit_status == 2


def test_strings_do_not_pass_for_numbers() -> None:
    with pytest.raises(ConfigError, match=r"seed: .*given: '3'"):
        build(Outer, {"seed": "3"})


class NumberOrAuto(Config):
    n: Annotated[int, Field(ge=1)] | Literal["auto"] = 3


@pytest.mark.parametrize(("given", "said"), [(0, "greater than or equal to 1"), ("many", "a valid integer")])
def test_a_number_or_a_word_is_one_problem(given: object, said: str) -> None:
    assert build(NumberOrAuto, {"n": "auto"}).n == "auto"
    with pytest.raises(ConfigError) as caught:
        build(NumberOrAuto, {"n": given})
    assert str(caught.value).splitlines()[1:] == [f"  - n: Input should be {said}, or 'auto' (given: {given!r})"]


def test_configs_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        Outer().seed = 4  # type: ignore[misc]


def test_runtime_fields_take_no_part_in_the_fingerprint() -> None:
    slow, fast = Outer(many=(Inner(),)), Outer(inner=Inner(threads=8), many=(Inner(threads=3),))
    assert fingerprint_fields(slow) == fingerprint_fields(fast)
    assert fingerprint_fields(slow)["inner"] == {"learning_rate": 1e-3, "ks": [10, 20]}
    assert fingerprint_fields(Outer(inner=Inner(ks=(10,)))) != fingerprint_fields(Outer())


def test_overrides() -> None:
    values = {"seed": 1, "inner": {"ks": [10]}}
    changed = apply_overrides(
        values, ["seed=7", "inner.learning_rate=0.1", "inner.ks=[5, 20]", "name=plain words", "since=2020-02-03"]
    )
    config = build(Outer, changed)
    assert config == Outer(
        seed=7, name="plain words", since=date(2020, 2, 3), inner=Inner(learning_rate=0.1, ks=(5, 20))
    )
    assert values == {"seed": 1, "inner": {"ks": [10]}}
    assert apply_overrides({}, ["name='7'", "a=b=c"]) == {"name": "7", "a": "b=c"}
    short = apply_overrides({}, ["a=.5", "b=-5.", "c=.5e-3", "d=.", "e=../data", "f=1.2.3"])
    assert short == {"a": 0.5, "b": -5.0, "c": 5e-4, "d": ".", "e": "../data", "f": "1.2.3"}


@pytest.mark.parametrize("override", ["seed", "=3", "inner..ks=3", ".a=1", "seed.x=3"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        apply_overrides({"seed": 1}, [override])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no configuration file .*no\.toml"):
        read_toml(tmp_path / "no.toml")
    with pytest.raises(MissingFileError):
        read_toml(tmp_path)
    (tmp_path / "bad.toml").write_text("seed = \n")
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 1"):
        read_toml(tmp_path / "bad.toml")


def test_lookup_lists_the_choices() -> None:
    assert lookup({"mf": 1}, "mf", "model") == 1
    with pytest.raises(
        UnknownChoiceError,
        match=r"unknown model 'lightgn' - did you mean 'lightgcn'\? Choose one of: lightgcn, mf\.",
    ):
        lookup({"mf": 1, "lightgcn": 2}, "lightgn", "model")


class Nullable(Config):
    limit: int | None = 8
    """A number, or none."""
    many: tuple[Outer, ...] = ()
    """Several sections."""
    inner: Inner | None = Inner()
    """A section, or none."""


def test_null_stands_for_no_value_in_overrides_and_files(tmp_path: Path) -> None:
    config = build(Nullable, apply_overrides({"inner": {"threads": 3}}, ["limit=null", "inner=null"]))
    assert (config.limit, config.inner) == (None, None)
    (tmp_path / "c.toml").write_text(to_toml(config))
    assert build(Nullable, read_toml(tmp_path / "c.toml")) == config  # not the defaults, which are others
    assert to_toml(Nullable(many=(Outer(),))) == to_toml(Nullable(many=(Outer(since=None),)))
    with pytest.raises(ConfigError, match=r"inner\.threads.*integer.*None"):
        build(Nullable, apply_overrides({}, ["inner.threads=null"]))


def test_docstrings_of_fields_are_read_from_the_source() -> None:
    class Longer(Inner):
        learning_rate: float = 2.0
        """Its own."""

    assert field_docstrings(Longer) == {"learning_rate": "Its own.", "ks": "Cut-offs.", "threads": "Speed only."}
