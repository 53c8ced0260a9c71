"""What a run would ask of a language model, before a single call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from hnlmrec.generation.rows import RowTask
from hnlmrec.llm.client import CompletionConfig
from hnlmrec.llm.prompts import PromptTemplate
from hnlmrec.llm.rate_limit import estimate_tokens

_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """Prices of a million tokens, in any currency."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclass(frozen=True)
class CallPlan:
    """What rows will cost at most, repairs and retries apart.

    Attributes:
        calls: one for each row.
        prompt_tokens: an estimate, a token for 4 bytes of UTF-8 (`llm.rate_limit.estimate_tokens`).
        max_completion_tokens: every reply as long as it may be.
        max_cost: at the given prices.
    """

    calls: int = 0
    prompt_tokens: int = 0
    max_completion_tokens: int = 0
    max_cost: float = 0.0

    def __add__(self, other: CallPlan) -> CallPlan:
        return CallPlan(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.max_completion_tokens + other.max_completion_tokens,
            self.max_cost + other.max_cost,
        )

    def figures(self) -> dict[str, float]:
        """Return all figures by name."""
        return asdict(self)


def plan_rows(
    tasks: Iterable[RowTask], template: PromptTemplate, completion: CompletionConfig, prices: Prices
) -> CallPlan:
    """Plan one call for each task."""
    calls = prompt_tokens = 0
    for task in tasks:
        if task.given is not None or task.problem is not None:
            continue
        calls += 1
        prompt_tokens += estimate_tokens(template.render(**task.fields))
    reply_tokens = calls * completion.max_tokens
    cost = (prompt_tokens * prices.prompt + reply_tokens * prices.completion) / _MILLION
    return CallPlan(calls, prompt_tokens, reply_tokens, cost)
