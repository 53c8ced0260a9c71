"""What every enhancement is: a model around a CF model, which learns from what a language model has written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hnlmrec.config import Config
from hnlmrec.data.node_texts import NodeTexts
from hnlmrec.data.preferences import PreferenceTable
from hnlmrec.errors import ConfigError
from hnlmrec.models.base import Batch, CFModel, Embeddings, Rows, TrainableModel

T = TypeVar("T")


class EnhancementConfig(Config):
    """Enhancements have no field in common."""


@dataclass(frozen=True, eq=False)
class EnhancementResources:
    """What enhancements are built from.

    Attributes:
        texts: vectors of all users and items, for those that learn from texts.
        preferences: items that the language model has picked.
    """

    texts: NodeTexts | None = None
    preferences: PreferenceTable | None = None

    def require(self, enhancement: str, *names: str) -> None:
        """Check that resources are there.

        Raises:
            ConfigError: names all that are missing, and where they come from.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise ConfigError(
                f"the enhancement {enhancement!r} needs {' and '.join(missing)}, which this run does not have. "
                "They come from stages of `hnlmrec run` (encode, preferences): use it, or set no enhancement."
            )


class Enhancement(TrainableModel):
    """A CF model, the backbone, with vectors changed or with a loss added; samplers and trainer see a model.

    Its parameters and those of the backbone are in one `state_dict` and one optimiser. What it draws comes from
    the backbone's generator.

    Args:
        backbone: any model of the table MODELS.
    """

    Config: ClassVar[type[EnhancementConfig]]
    requires: ClassVar[tuple[str, ...]] = ()
    """Names of the fields of `EnhancementResources` that it cannot do without."""

    def __init__(self, backbone: CFModel) -> None:
        super().__init__()
        self.backbone = backbone
        self._tables: tuple[Tensor, Tensor] | None = None  # of this step

    @classmethod
    @abstractmethod
    def build(
        cls,
        backbone: CFModel,
        config: EnhancementConfig,
        resources: EnhancementResources,
        *,
        generator: torch.Generator,
    ) -> Self:
        """Make the enhancement from what a run has.

        Args:
            backbone: the CF model.
            config: an instance of the class's own `Config`.
            resources: what the run has.
            generator: for the random initial values, on the CPU.

        Raises:
            ConfigError: a resource is missing, or the backbone will not do.
        """

    @property
    def generator(self) -> torch.Generator:
        """The backbone's."""
        return self.backbone.generator

    @generator.setter
    def generator(self, generator: torch.Generator) -> None:
        self.backbone.generator = generator

    def layer_zero(self) -> tuple[Tensor, Tensor] | None:
        """Return what stands for the backbone's layer-0 tables in this step; None for the tables themselves."""
        return None

    def own_loss(self, batch: Batch) -> Tensor | None:
        """Return the enhancement's term, already weighted; None where it has none."""
        return None

    def propagate(self, *, layers: bool = False) -> Embeddings:
        """Return the vectors of all users and items, with gradient."""
        self._tables = self.layer_zero()
        return self._call(self.backbone.propagate, layers=layers)

    def rows(self, users: Tensor, items: Tensor) -> Rows:
        """Return the vectors of some users [B] and items [M] (int64)."""
        self._tables = self.layer_zero()
        return self._call(self.backbone.rows, users, items)

    def take(self, embeddings: Embeddings, users: Tensor, items: Tensor) -> Rows:
        """Pick rows out of what `propagate` gave in this step."""
        return self._call(self.backbone.take, embeddings, users, items)

    def ego_embeddings(self) -> Embeddings:
        """Return the backbone's own tables."""
        return self.backbone.ego_embeddings()

    def start_epoch(self, epoch: int) -> None:
        """Tell the backbone."""
        self.backbone.start_epoch(epoch)

    def auxiliary_loss(self, batch: Batch) -> Tensor | None:
        """Return the backbone's term, of the same layer-0 vectors, plus that of the enhancement."""
        terms = [self._call(self.backbone.auxiliary_loss, batch), self.own_loss(batch)]
        self._tables = None  # the graph of this step must not outlive it
        present = [term for term in terms if term is not None]
        return torch.stack(present).sum() if present else None

    def _call(self, method: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a method of the backbone, with this step's layer-0 vectors in place of its tables."""
        if self._tables is None:
            return method(*arguments, **options)
        users, items = self._tables
        replaced = {"backbone.user_embedding": users, "backbone.item_embedding": items}
        result: T = functional_call(_Call(self.backbone), replaced, (method, *arguments), options)
        return result


class _Call(nn.Module):
    """Makes any method of a model the `forward` that `functional_call` calls."""

    def __init__(self, backbone: CFModel) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return method(*arguments, **options)


def small_linear(n_in: int, n_out: int, generator: torch.Generator) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weight [n_out, n_in] ~ U(-a, a), a = n_in^-0.5, and bias zeros [n_out]."""
    bound = n_in**-0.5
    weight = torch.empty(n_out, n_in).uniform_(-bound, bound, generator=generator)
    return nn.Parameter(weight), nn.Parameter(torch.zeros(n_out))


def final_size(backbone: CFModel) -> int:
    """Return the length of a backbone's final vectors, which may be longer than those of a layer."""
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        size = backbone.propagate().items.shape[1]
    backbone.train(was_training)
    return size
