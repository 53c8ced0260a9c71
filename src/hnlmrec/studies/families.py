"""Which family of methods a cell belongs to, by rule: what the claims of a study compare with each other."""

from __future__ import annotations

from hnlmrec.reporting.study.inputs import NO_START
from hnlmrec.studies.cells import Cell

_ABLATIONS = ("noise", "shuffled")
_LLM_SAMPLERS = ("semantic", "llmhni")


def family(cell: Cell) -> str:
    """Return the family of a cell's method, the first that fits.

    "untrained": a recommender without a training loop, a judge alone too; "llm_enhanced": a published method that
    brings a language model in; "hnlmrec": ours; "ablation": ours with something else for its vectors;
    "recognised": a classic sampler with a judge's positives or guard; "classic": all others.
    """
    config = cell.config
    if cell.place.initialisation == NO_START:
        return "untrained"
    if config.enhancement is not None or config.sampler.name in _LLM_SAMPLERS:
        return "llm_enhanced"
    if config.sampler.name == "hnlmrec":
        return "hnlmrec"
    if config.sampler.name in _ABLATIONS:
        return "ablation"
    is_judged = config.training.needs_judge or bool(getattr(config.sampler, "risk_penalty", 0.0))
    return "recognised" if is_judged else "classic"
