"""What a study shows of HNLMRec, by rule: against the best of each family of methods, metric by metric.

The rival is the one with the highest mean on test, which favours the rival. Where the study's baseline is a
variant of ours, the others are its ablations, and claims are made of the baseline alone. A claim holds where the
difference is in its favour and the paired t-test over users, Holm-corrected over all claims of a part, has p below
0.05.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hnlmrec.evaluation.files import UserValues
from hnlmrec.evaluation.significance import PairedTest, compare, holm
from hnlmrec.reporting.study.inputs import NO_START, Outline, Part, key
from hnlmrec.reporting.tables import LEVEL

OURS = "hnlmrec"
RIVALS = {
    "classic": "the best classic sampler",
    "recognised": "the best classic sampler with a judge's positives",
    "ablation": "noise or shuffled vectors in place of the LLM's",
    "llm_enhanced": "the best LLM-enhanced baseline",
    "untrained": "the best method without training",
}
"""Families that HNLMRec is compared with, and what they are called."""
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("dataset", "model", "varied", "value", "initialisation", "variant"), pl.String),
    **dict.fromkeys(("family", "rival", "metric"), pl.String),
    **dict.fromkeys(("mean", "rival_mean", "difference", "relative_percent"), pl.Float64),
    **dict.fromkeys(("p_value", "p_adjusted"), pl.Float64),
    **dict.fromkeys(("n", "seeds", "seeds_above"), pl.Int64),
    "verdict": pl.String,
}
_MIN_USERS = 2
System = tuple[str, str]


def claims_frame(parts: Sequence[Part], outline: Outline) -> pl.DataFrame:
    """Return a row for each claim: variant, rival, means, p, in how many seeds it is above, and the verdict.

    The verdict is "above", "below" (both significant) or "open". There is no row where a part has no variant of
    ours, or where a family has no method under the same initialisation.
    """
    return pl.DataFrame([row for part in parts for row in _rows(part, outline)], schema=SCHEMA)


@dataclass(frozen=True)
class _Claim:
    ours: System
    family: str
    rival: System
    test: PairedTest


def _rows(part: Part, outline: Outline) -> Iterator[dict[str, Any]]:
    users = part.by_user(outline.metrics)
    if min((len(values.users) for values in users.values()), default=0) < _MIN_USERS:
        return
    claimed = _claimed(part, outline.baseline)
    claims = [claim for metric in outline.metrics for claim in _claims(part, claimed, users, metric)]
    adjusted = holm(np.array([claim.test.p_value for claim in claims]))
    for claim, p_adjusted in zip(claims, adjusted, strict=True):
        test = claim.test
        seeds, above = _seeds_above(part, claim.ours, claim.rival, test.metric)
        yield {
            **{name: getattr(part, name) for name in ("dataset", "model", "varied", "value")},
            "initialisation": claim.ours[1],
            "variant": claim.ours[0],
            "family": claim.family,
            "rival": claim.rival[0],
            "metric": test.metric,
            "mean": test.mean,
            "rival_mean": test.baseline_mean,
            "difference": test.difference,
            "relative_percent": 100 * test.difference / test.baseline_mean if test.baseline_mean else None,
            "p_value": test.p_value,
            "p_adjusted": float(p_adjusted),
            "n": test.n_users,
            "seeds": seeds,
            "seeds_above": above,
            "verdict": _verdict(test.difference, float(p_adjusted)),
        }


def _claimed(part: Part, baseline: str) -> list[System]:
    ours = [system for system in part.systems if part.families[system] == OURS]
    return [system for system in ours if system[0] == baseline] or ours


def _claims(part: Part, claimed: Sequence[System], users: dict[str, UserValues], metric: str) -> Iterator[_Claim]:
    families = part.families
    for ours in claimed:
        for family in RIVALS:
            start = NO_START if family == "untrained" else ours[1]
            rivals = [system for system in part.systems if families[system] == family and system[1] == start]
            if rivals:
                rival = max(rivals, key=lambda system: users[key(system)].per_user[metric].mean())
                pair = {name: users[name] for name in (key(ours), key(rival))}
                (test,) = compare(pair, baseline=key(rival), metrics=(metric,), correction="none").tests
                yield _Claim(ours, family, rival, test)


def _seeds_above(part: Part, ours: System, rival: System, metric: str) -> tuple[int, int]:
    """Return (seeds that both have, in how many of them ours is above); one that has no seeds stands for all."""
    mine, theirs = part.of(ours), part.of(rival)
    column = f"test/{metric}"
    if theirs["seed"].null_count():
        others = [theirs[column][0]] * len(mine)
        return len(mine), sum(a > b for a, b in zip(mine[column], others, strict=True))
    joined = mine.join(theirs, on="seed", suffix="_rival")
    return len(joined), int((joined[column] > joined[f"{column}_rival"]).sum())


def _verdict(difference: float, p_adjusted: float) -> str:
    if p_adjusted >= LEVEL or difference == 0:
        return "open"
    return "above" if difference > 0 else "below"
