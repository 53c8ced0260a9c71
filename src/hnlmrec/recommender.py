"""A recommender with scikit-learn's manners: fit, recommend, similar_items, save and load; frames in and out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import polars as pl

from hnlmrec.artifacts import storage_errors, write_json
from hnlmrec.config import build
from hnlmrec.data.embeddings import EmbeddingTable
from hnlmrec.data.interactions import InteractionDataset
from hnlmrec.data.tables import read_json, read_parquet
from hnlmrec.errors import ConfigError, DataError, UnknownChoiceError, lookup
from hnlmrec.models import MODELS
from hnlmrec.negative_sampling import SAMPLERS
from hnlmrec.serving.fitting import fit_vectors
from hnlmrec.serving.frames import FrameStyle, dataset_of_frames
from hnlmrec.serving.ranking import recommend, similar_items
from hnlmrec.serving.requests import recommend_to_new_user
from hnlmrec.serving.vectors import TrainedVectors
from hnlmrec.training import TrainingConfig

FILE = "recommender.json"
_VERSION = 1


@dataclass
class Recommender:
    """A collaborative filtering model with a negative sampler, trained on a table of interactions.

    As in scikit-learn, the constructor only notes its parameters, `fit` checks them, and what was learned has
    names that end in an underscore.

    Args:
        model: a name out of MODELS.
        sampler: a name out of SAMPLERS; those that read texts need `hnlmrec run`.
        embedding_size: length of a vector.
        n_negatives: negatives of each positive.
        model_options: further fields of the model's configuration, such as {"n_layers": 2}.
        sampler_options: further fields of the sampler's, such as {"n_candidates": 16}.
        learning_rate: step size of Adam.
        regularization: weight of the L2 term.
        batch_size: positives a step, or "auto": by the number of pairs.
        epochs: passes over the data at most.
        patience: epochs without a gain on validation after which training stops.
        loss: a name out of LOSSES.
        valid_fraction: share of each user's items by which the best epoch is chosen; not trained on.
        device: "auto", "cpu", "cuda", …
        seed: of the split and of all random numbers.

    Attributes:
        vectors_: the trained vectors and the data set, after `fit`.
        best_epoch_: the epoch that was kept, counted from 1.
        best_value_: its recall on validation, at 20 or the size of a smaller catalogue.
    """

    model: str = "lightgcn"
    sampler: str = "dns"
    embedding_size: int = field(default=64, kw_only=True)
    n_negatives: int = field(default=1, kw_only=True)
    model_options: Mapping[str, Any] | None = field(default=None, kw_only=True)
    sampler_options: Mapping[str, Any] | None = field(default=None, kw_only=True)
    learning_rate: float = field(default=1e-3, kw_only=True)
    regularization: float = field(default=1e-4, kw_only=True)
    batch_size: int | str = field(default=2048, kw_only=True)
    epochs: int = field(default=200, kw_only=True)
    patience: int = field(default=10, kw_only=True)
    loss: str = field(default="bpr", kw_only=True)
    valid_fraction: float = field(default=0.1, kw_only=True)
    device: str = field(default="auto", kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def fit(self, interactions: Any, items: Any = None) -> Self:
        """Train on all interactions but the validation share; return self.

        Args:
            interactions: a pandas or polars DataFrame with user_id and item_id, strings or whole numbers; other
                columns are not read, so leave out what is no sign of liking.
            items: a DataFrame with item_id and title, which recommendations then show; None for no titles.

        Raises:
            ConfigError: a parameter is out of range or unknown; all of them are listed.
            DataError: the tables lack a column or hold no ids, or there is too little to validate on.
        """
        if not 0 < self.valid_fraction < 1:
            raise ConfigError(f"valid_fraction is {self.valid_fraction!r}: give a number between 0 and 1.")
        model = _options(lookup(MODELS, self.model, "model").Config, self.model_options, "model_options")
        model |= {"embedding_size": self.embedding_size}
        sampler = _options(
            lookup(SAMPLERS, self.sampler, "sampler").Config, self.sampler_options, "sampler_options"
        )
        sampler |= {"n_negatives": self.n_negatives}
        names = ("learning_rate", "regularization", "batch_size", "epochs", "patience", "loss", "device")
        dataset, titles, style = dataset_of_frames(
            interactions, items, valid_fraction=self.valid_fraction, seed=self.seed
        )
        training = {name: getattr(self, name) for name in names}
        training |= {"select_by": f"recall@{min(20, dataset.n_items)}", "drawn_per_epoch": 0}
        result = fit_vectors(
            dataset,
            (self.model, build(MODELS[self.model].Config, model, where="the model")),
            (self.sampler, build(SAMPLERS[self.sampler].Config, sampler, where="the sampler")),
            build(TrainingConfig, training, where="the training"),
            seed=self.seed,
        )
        ends = (result.embeddings.users.numpy(), result.embeddings.items.numpy())
        self.vectors_, self._style = TrainedVectors(dataset, *ends, titles), style
        self.best_epoch_, self.best_value_ = result.best_epoch, result.best_value
        return self

    def recommend(self, users: Iterable[Any] | None = None, k: int = 10) -> Any:
        """Return the k best items of users that they do not have: user_id, rank, item_id, title, score.

        Args:
            users: ids, in a list or a column of either library; None for all users.
            k: number of items of each.

        Raises:
            UnknownIdError: a user was not in the training; see `recommend_for_history`.
            ConfigError: k is larger than the catalogue, or nothing was fitted.
        """
        vectors = self._fitted()
        ids = list(vectors.dataset.users.all_ids) if users is None else _strings(users, "users")
        return self._style.out(recommend(vectors, ids, k))

    def recommend_for_history(self, items: Iterable[Any], k: int = 10) -> Any:
        """Return the k best items for somebody new who has these items: rank, item_id, title, score."""
        vectors = self._fitted()
        frame = recommend_to_new_user(vectors, vectors, list(dict.fromkeys(_strings(items, "items"))), k)
        return self._style.out(frame.drop("user_id"))

    def similar_items(self, item: Any, k: int = 10) -> Any:
        """Return the k items most like one by the cosine of their vectors: rank, item_id, title, score."""
        return self._style.out(similar_items(self._fitted(), str(item), k))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` changes nothing, since no parameter is an estimator."""
        del deep
        return {parameter.name: getattr(self, parameter.name) for parameter in fields(self)}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; the next `fit` reads them.

        Raises:
            UnknownChoiceError: there is no such parameter.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise UnknownChoiceError("parameter", name, self.get_params())
            setattr(self, name, value)
        return self

    def save(self, folder: str | Path) -> None:
        """Write parameters (JSON), data set (Parquet) and vectors (.npy) into a folder; nothing is pickled.

        Raises:
            ConfigError: nothing was fitted.
        """
        vectors, folder = self._fitted(), Path(folder)
        dataset = vectors.dataset
        with storage_errors(folder):
            for table, kind in ((vectors.users, "users"), (vectors.items, "items")):
                EmbeddingTable(getattr(dataset, kind), table).save(folder / "vectors", kind)
            (folder / "data").mkdir(exist_ok=True)
            ids = dataset.items.all_ids
            titles = {"item_id": ids, "title": [vectors.titles.get(id_) for id_ in ids]}
            described = pl.DataFrame(titles, schema=dict.fromkeys(titles, pl.String))
            described.write_parquet(folder / "data/items.parquet")
            (folder / "data/users.parquet").unlink(
                missing_ok=True
            )  # of an earlier fit; the data set keeps what is there
            dataset.save(folder / "data")
            fitted = {"best_epoch": self.best_epoch_, "best_value": self.best_value_, **asdict(self._style)}
            write_json(folder / FILE, {"version": _VERSION, "parameters": self.get_params(), "fitted": fitted})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; vectors are memory-mapped.

        Raises:
            MissingFileError: it is not the folder of a saved recommender.
            DataError: its files are damaged, or of another version of this package.
        """
        folder = Path(folder)
        saved = read_json(folder / FILE)
        if saved.get("version") != _VERSION:
            raise DataError(
                f"{folder / FILE} has version {saved.get('version')!r}, not {_VERSION}: fit and save again."
            )
        fitted, recommender = saved["fitted"], cls().set_params(**saved["parameters"])
        dataset = InteractionDataset.load(folder / "data")
        described = read_parquet(folder / "data/items.parquet", ("item_id", "title"))
        titles = {id_: title for id_, title in described.select("item_id", "title").iter_rows() if title}
        users, items = (EmbeddingTable.load(folder / "vectors", kind).vectors for kind in ("users", "items"))
        recommender.vectors_ = TrainedVectors(dataset, users, items, titles)
        recommender.best_epoch_, recommender.best_value_ = fitted.pop("best_epoch"), fitted.pop("best_value")
        recommender._style = FrameStyle(**fitted)
        return recommender

    def _fitted(self) -> TrainedVectors:
        if "vectors_" not in vars(self):
            raise ConfigError(
                "this recommender was not fitted: call fit(interactions) first, or Recommender.load."
            )
        vectors: TrainedVectors = vars(self)["vectors_"]
        return vectors


def _options(kind: Any, options: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Return the options of a configuration; those that are parameters of their own may not be among them."""
    values = dict(options or {})
    own = sorted(values.keys() & {"embedding_size", "n_negatives"} & kind.model_fields.keys())
    if own:
        raise ConfigError(f"{name} holds {own[0]}, which is a parameter of its own: Recommender({own[0]}=…).")
    return values


def _strings(ids: Iterable[Any], what: str) -> list[str]:
    if isinstance(ids, str):
        raise DataError(f"{what} is the string {ids!r}: give a list of ids, for example [{ids!r}].")
    return [str(id_) for id_ in ids]
