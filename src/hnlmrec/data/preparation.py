"""From a raw source to a data set that is ready to train on: filters, k-core, splits, statistics.

The order: equal (user, item) pairs are merged, then the date window, the rating threshold, the k-core, the random
subset of users and of items, the k-core again, the split, and the share of train. `statistics["steps"]` says what
each step left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import BeforeValidator, Field, PlainSerializer, PositiveInt, model_validator

from hnlmrec.artifacts import write_json
from hnlmrec.config import Config, added, runtime
from hnlmrec.data.filtering import (
    Funnel,
    compact,
    k_core,
    merge_duplicates,
    number_ids,
    require_values,
    subset,
    with_ids,
    within_dates,
)
from hnlmrec.data.interactions import SPLITS, InteractionDataset, Interactions, Numbers, Vocabulary
from hnlmrec.data.raw import READ_COLUMNS, RawData
from hnlmrec.data.readers import read
from hnlmrec.data.sources import is_prepared, source_fingerprint, source_path
from hnlmrec.data.splitting import (
    LEFT_OUT,
    TEST,
    TRAIN,
    UNUSED,
    VALID,
    Codes,
    cut_valid,
    hold_out_last,
    hold_out_latest,
    hold_out_random,
    keep_share,
)
from hnlmrec.data.statistics import describe
from hnlmrec.data.tables import read_json, read_parquet
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.rng import RandomStreams

__all__ = ["PreparationConfig", "Prepared", "load_prepared", "prepare", "prepare_source", "source_fingerprint"]

SplitMethod = Literal["auto", "random", "leave_last_out", "temporal", "given"]
Columns = Annotated[  # a table in files and in JSON; pairs inside, since a configuration is hashed
    tuple[tuple[str, str], ...],
    BeforeValidator(lambda value: tuple(value.items()) if isinstance(value, dict) else value),
    PlainSerializer(dict, return_type=dict[str, str]),
]


class PreparationConfig(Config):
    """Which data, which part of it, and how it is split."""

    source: str = "ml-100k"
    """Name of an asset, or path of a data folder or file, or of a prepared artefact."""
    min_rating: float | None = None
    """Lower ratings do not count as interactions; rows without a rating neither."""
    since: date | None = None
    """First day (UTC) of the interactions to keep."""
    until: date | None = None
    """Last day (UTC) of the interactions to keep."""
    core: int = Field(1, ge=1)
    """Smallest number of interactions of every user and item (k-core); 1 keeps all."""
    max_users: int | None = Field(None, ge=1)
    """Keep a random subset of so many users."""
    max_items: int | None = Field(None, ge=1)
    """Keep a random subset of so many items."""
    split: SplitMethod = "auto"
    """`random` per user; `leave_last_out`: each user's last to test, the one before to valid; `temporal`: one cut
    in time for all users; `given` by the source; `auto`: `given` where the source has splits, else `random`."""
    valid_fraction: float = Field(0.1, ge=0, lt=1)
    """Share held out for validation. With given splits that lack a valid one, the share of train that becomes it;
    0 for none."""
    test_fraction: float = Field(0.1, gt=0, lt=1)
    """Share held out for the test; given splits and leave_last_out do not use it."""

    train_share: float = added(1.0, gt=0, le=1)
    """Share of each user's train pairs that is kept, at random, for studies of sparsity: at least one pair a user,
    and smaller shares are parts of larger ones. Valid, test and the catalogue stay as they are."""
    columns: Columns = added(())
    """What the source calls its columns and fields, where not as in the documentation: our name -> the source's,
    as in { user_id = "userId", title = "product_name" }."""
    expected_sizes: tuple[PositiveInt, PositiveInt, PositiveInt] | None = runtime(None)
    """Users, items and interactions that should be left; a warning names the difference. It changes no result."""

    @model_validator(mode="after")
    def _consistent(self) -> PreparationConfig:
        unknown = sorted(dict(self.columns).keys() - READ_COLUMNS)
        if unknown:
            known = ", ".join(sorted(READ_COLUMNS))
            raise ValueError(f"columns: nothing called {', '.join(unknown)} is read. Known here: {known}")
        if len({theirs for _, theirs in self.columns}) < len(self.columns):
            raise ValueError("columns must name a column of the source once")
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction and test_fraction must leave something for train")
        if self.since and self.until and self.since > self.until:
            raise ValueError("since must not be after until")
        return self


@dataclass(frozen=True)
class Prepared:
    """What `prepare` makes.

    Attributes:
        dataset: vocabularies and splits.
        users: user_id, facts, profile; a row a user, in the order of its number.
        items: item_id, title, facts, profile; likewise.
        reviews: user_id, item_id, text, of train interactions only; None where the source has no reviews.
        statistics: counts, degrees, steps and warnings, as JSON values.
    """

    dataset: InteractionDataset
    users: pl.DataFrame
    items: pl.DataFrame
    reviews: pl.DataFrame | None
    statistics: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write users, items, interactions and reviews.parquet and statistics.json into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.users.write_parquet(folder / "users.parquet")
        self.items.write_parquet(folder / "items.parquet")
        self.dataset.save(folder)
        if self.reviews is not None:
            self.reviews.write_parquet(folder / "reviews.parquet")
        write_json(folder / "statistics.json", self.statistics)


def load_prepared(folder: Path) -> Prepared:
    """Read what `Prepared.save` wrote.

    Raises:
        MissingFileError: a file is not there.
        DataError: a file is not what it should be.
    """
    reviews = folder / "reviews.parquet"
    return Prepared(
        InteractionDataset.load(folder),
        read_parquet(folder / "users.parquet", ("user_id", "facts", "profile")),
        read_parquet(folder / "items.parquet", ("item_id", "title", "facts", "profile")),
        read_parquet(reviews, ("user_id", "item_id", "text")) if reviews.exists() else None,
        read_json(folder / "statistics.json"),
    )


def prepare_source(config: PreparationConfig, streams: RandomStreams) -> Prepared:
    """Fetch or find `config.source`, read it and prepare it. A prepared artefact is returned as it is.

    Raises:
        ConfigError: filters or a split were asked of a prepared artefact.
        MissingFileError: the source is neither an asset nor a path.
        DataError: its content is wrong.
    """
    path = source_path(config.source)
    if not is_prepared(path):
        return prepare(read(path, dict(config.columns)), config, streams)
    if config.model_copy(update={"expected_sizes": None}) != PreparationConfig(source=config.source):
        raise ConfigError(
            f"{path} is already prepared: it takes no filter and no split. Leave out all `data.*` settings but "
            "the source, or give the raw data."
        )
    return load_prepared(path)


def prepare(raw: RawData, config: PreparationConfig, streams: RandomStreams) -> Prepared:
    """Filter, split and number a raw table.

    Items and users that occur in valid or test alone belong to the vocabulary: a recommender must rank, and may be
    asked for, what it has not been trained on; the statistics count them. Users and items that are described but
    have no interaction are left out and counted.

    Args:
        raw: what `read` returned.
        config: the filters and the split; `config.source` is not used.
        streams: the streams "data.users", "data.items", "data.split" and "data.train_share" are drawn from.

    Raises:
        DataError: a filter or a split needs a column that the source lacks, or nothing is left.
    """
    funnel = Funnel()
    pairs, user_ids, item_ids = _provisional(raw)
    raw = replace(raw, interactions=raw.interactions.clear())  # the largest table there is: let it go
    pairs, merged = merge_duplicates(funnel.record("read", pairs))
    pairs = _filter(funnel.record("merge_duplicates", pairs), config, funnel)
    if raw.dump is not None:
        pairs, user_ids, item_ids = number_ids(raw.dump.named(pairs))
    pairs = _subset(pairs, config, streams, funnel)
    method = _split_method(pairs, config)
    codes = _split(pairs, method, config, streams)
    pairs = pairs.with_columns(code=codes).filter(pl.col("code") != LEFT_OUT)
    if method == "temporal":
        funnel.record("users_without_train", pairs)
    if config.train_share < 1:
        pairs = _thinned(pairs, config.train_share, streams)
        funnel.record("train_share", pairs.filter(pl.col("code") != UNUSED))
    dataset = _dataset(pairs, user_ids, item_ids)
    pairs = pairs.filter(pl.col("code") != UNUSED)
    train = with_ids(pairs.filter(pl.col("code") == TRAIN), user_ids, item_ids)
    if raw.dump is not None:
        ids = (pl.Series(f"{v.kind}_id", v.all_ids, dtype=pl.String) for v in (dataset.users, dataset.items))
        raw = raw.dump.described(train, *ids)
    users = _texts(dataset.users, "user_id", raw.users)
    items = _texts(dataset.items, "item_id", raw.items)
    reviews = _train_reviews(raw.reviews, train)
    facts = {"source": raw.source.name, "format": raw.format, "split": method, **merged}
    statistics = describe(raw, dataset, pairs=pairs, users=users, items=items, reviews=reviews)
    return Prepared(dataset, users, items, reviews, {**facts, **statistics, "steps": funnel.steps})


def _provisional(raw: RawData) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Number users and items. A dump has done so itself, and has no ids before the filters."""
    return number_ids(raw.interactions) if raw.dump is None else (raw.interactions, [], [])


def _filter(pairs: pl.DataFrame, config: PreparationConfig, funnel: Funnel) -> pl.DataFrame:
    if config.since or config.until:
        pairs = funnel.record("dates", within_dates(pairs, config.since, config.until))
    if config.min_rating is not None:
        require_values(pairs, "rating", "data.min_rating")
        pairs = funnel.record("min_rating", pairs.filter(pl.col("rating") >= config.min_rating))
    return _require_some(_core(pairs, config.core, funnel, "core"), funnel)


def _subset(
    pairs: pl.DataFrame, config: PreparationConfig, streams: RandomStreams, funnel: Funnel
) -> pl.DataFrame:
    if config.max_users is None and config.max_items is None:
        return pairs
    for column, most in (("user", config.max_users), ("item", config.max_items)):
        chosen = subset(pairs[column].to_numpy(), most, streams.generator(f"data.{column}s"))
        pairs = pairs.filter(pl.Series(chosen, dtype=pl.Boolean))
    pairs = _core(funnel.record("subset", pairs), config.core, funnel, "core_again")
    return _require_some(pairs, funnel)


def _require_some(pairs: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    if not len(pairs):
        left = ", ".join(f"{step['step']} left {step['interactions']:,}" for step in funnel.steps)
        raise DataError(
            f"no interaction is left after the filters: {left}. Loosen data.core, data.min_rating, data.since, "
            "data.until, data.max_users or data.max_items."
        )
    return pairs


def _core(pairs: pl.DataFrame, core: int, funnel: Funnel, name: str) -> pl.DataFrame:
    if core == 1:
        return pairs
    keep = k_core(pairs["user"].to_numpy(), pairs["item"].to_numpy(), core)
    return funnel.record(name, pairs.filter(pl.Series(keep, dtype=pl.Boolean)))


def _split_method(pairs: pl.DataFrame, config: PreparationConfig) -> SplitMethod:
    given = pairs["split"].null_count() == 0
    if config.split == "auto":
        return "given" if given else "random"
    if config.split == "given" and not given:
        raise DataError(
            "data.split=given needs a source with splits, which this one is not. Choose another split."
        )
    return config.split


def _split(pairs: pl.DataFrame, method: SplitMethod, config: PreparationConfig, streams: RandomStreams) -> Codes:
    users, items = pairs["user"].to_numpy(), pairs["item"].to_numpy()
    rng = streams.generator("data.split")
    if method == "given":
        codes = _given_codes(pairs)
        if not (codes == VALID).any() and config.valid_fraction > 0:
            codes = cut_valid(codes, users, items, config.valid_fraction, rng)
    elif method == "leave_last_out":
        codes = hold_out_last(users, _order_in_time(pairs), with_valid=config.valid_fraction > 0)
    elif method == "temporal":
        times = _times(pairs)
        codes = hold_out_latest(users, times, config.valid_fraction, config.test_fraction)
    else:
        codes = hold_out_random(users, items, config.valid_fraction, config.test_fraction, rng)
    _require_train_and_test(codes, method)
    return codes


def _thinned(pairs: pl.DataFrame, share: float, streams: RandomStreams) -> pl.DataFrame:
    """Mark the train pairs that are not used; they stay in the table, so that the catalogue is the same."""
    codes, users, items = (pairs[name].to_numpy() for name in ("code", "user", "item"))
    return pairs.with_columns(code=keep_share(codes, users, items, share, streams.generator("data.train_share")))


def _given_codes(pairs: pl.DataFrame) -> Codes:
    ranks = {name: number for number, name in enumerate(SPLITS)}
    return pairs["split"].replace_strict(ranks, return_dtype=pl.Int8).to_numpy()


def _order_in_time(pairs: pl.DataFrame) -> Numbers:
    """Return the place of each row when all are sorted by timestamp, then position, then place in the source."""
    for column in ("timestamp", "position"):
        if pairs[column].null_count() == 0:
            break
    else:
        raise DataError(
            "data.split=leave_last_out needs a timestamp or a position in every row, which this source does not "
            "have. Choose data.split=random."
        )
    order = pairs.with_row_index("row").sort("timestamp", "position", "row", nulls_last=False)["row"].to_numpy()
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def _times(pairs: pl.DataFrame) -> Numbers:
    if pairs["timestamp"].null_count():
        raise DataError(
            f"data.split=temporal needs a timestamp in every row; {pairs['timestamp'].null_count():,} of "
            f"{len(pairs):,} rows have none. Choose data.split=leave_last_out or random."
        )
    return pairs["timestamp"].to_numpy()


def _require_train_and_test(codes: Codes, method: SplitMethod) -> None:
    empty = [SPLITS[code] for code in (TRAIN, TEST) if not (codes == code).any()]
    if empty:
        raise DataError(
            f"the split {method!r} of {len(codes):,} interactions leaves {' and '.join(empty)} empty. Give more "
            "data, or larger fractions (a user with n interactions holds out round(n * fraction))."
        )


def _dataset(pairs: pl.DataFrame, user_ids: Sequence[str], item_ids: Sequence[str]) -> InteractionDataset:
    users, used_users = compact(pairs["user"].to_numpy(), user_ids)
    items, used_items = compact(pairs["item"].to_numpy(), item_ids)
    codes = pairs["code"].to_numpy()
    train, valid, test = (
        Interactions.from_pairs(users[codes == code], items[codes == code], len(used_users), len(used_items))
        for code in (TRAIN, VALID, TEST)
    )
    return InteractionDataset(Vocabulary(used_users, "user"), Vocabulary(used_items, "item"), train, valid, test)


def _texts(vocabulary: Vocabulary, key: str, described: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each id of the vocabulary, in its order; of an id described twice, the first counts."""
    ids = pl.DataFrame({key: list(vocabulary.all_ids)}, schema={key: pl.String})
    found = ids.join(described.unique(key, keep="first"), on=key, how="left", maintain_order="left")
    return found.with_columns(pl.col(name).fill_null("") for name in found.columns if name not in (key, "profile"))


def _train_reviews(reviews: pl.DataFrame | None, train: pl.DataFrame) -> pl.DataFrame | None:
    """Keep the reviews of train interactions: a profile must not know what is held out."""
    if reviews is None:
        return None
    return reviews.unique(["user_id", "item_id"], keep="last", maintain_order=True).join(
        train.select("user_id", "item_id"), on=["user_id", "item_id"], how="semi", maintain_order="left"
    )
