"""The report's first words: computed from the results, also where they are not what one hoped for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnlmrec.evaluation.significance import Comparison
from hnlmrec.reporting.comparisons import describe_test, is_semantic
from hnlmrec.reporting.inputs import ReportInputs
from hnlmrec.reporting.tables import metric_title

LLM_COUNTS = {
    "requests": "requests",
    "cache_hits": "answered by the cache",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
    "succeeded": "rows succeeded",
    "failed": "rows failed",
    "resumed": "rows from an earlier, interrupted run",
    "given": "rows known without a request",
    "retries": "retries",
    "repairs": "repair attempts",
}


def summarise(
    inputs: ReportInputs,
    statistics: Mapping[str, Any],
    names: list[str],
    uniform: Comparison | None,
    noise: Comparison | None,
) -> list[str]:
    """Return the sentences of the summary.

    Args:
        inputs: of the report.
        statistics: of the data set.
        names: the headline metrics, the first of which is spoken of.
        uniform: tests against uniform negatives.
        noise: tests against the noise ablation.
    """
    sentences = [_data(inputs, statistics), *_llm(inputs)]
    if names and inputs.results:
        sentences += _best(inputs, names[0])
        sentences += _tests(inputs, uniform, names[0], "There is no uniform sampler to compare with.")
        sentences += _tests(
            inputs,
            noise,
            names[0],
            "The noise ablation was not run, so nothing shows yet that the generated vectors matter.",
        )
    if any(experiment.selected_on_test for experiment in inputs.experiments):
        sentences.append(
            "The best epoch was selected on the test split, as some publications do: these figures are "
            "optimistic, and comparable only with figures of the same protocol."
        )
    if len(inputs.experiments) > 1:
        sentences.append(
            "Tests are paired over users and see one training seed: they do not cover the variation between seeds."
        )
    return sentences


def llm_stages(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return a row for each stage that used the LLM: its name, seconds, whether it was reused, and its counts.

    What was spent is told over all calls of a stage that was interrupted; its seconds are those of the last call.
    """
    rows = []
    for stage in inputs.stages:
        if "requests" not in stage["counts"]:
            continue
        counts = stage["counts"] | stage["counts"].get("all_calls", {})
        rows.append(
            {
                "stage": stage.get("label", stage["stage"]),
                "seconds": stage["seconds"],
                "reused": stage["reused"],
                "counts": {name: counts.get(name, 0) for name in LLM_COUNTS},
            }
        )
    return rows


def _data(inputs: ReportInputs, statistics: Mapping[str, Any]) -> str:
    sizes = inputs.dataset.counts()
    density = sum(sizes[name] for name in ("train", "valid", "test")) / max(sizes["users"] * sizes["items"], 1)
    density = statistics.get("density", density)
    return (
        f"{sizes['users']:,} users, {sizes['items']:,} items; {sizes['train']:,} interactions to train on, "
        f"{sizes['valid']:,} to validate, {sizes['test']:,} to test (density {100 * density:.2f} %)."
    )


def _llm(inputs: ReportInputs) -> list[str]:
    stages = llm_stages(inputs)
    if not stages:
        return []
    total = {name: sum(stage["counts"][name] for stage in stages) for name in LLM_COUNTS}
    seconds = sum(stage["seconds"] for stage in stages)
    tokens = total["prompt_tokens"] + total["completion_tokens"]
    last = " in the last call" if total["resumed"] else ""
    return [
        f"The LLM was asked {total['requests']:,} times ({tokens:,} tokens, {seconds:,.0f} s{last}); "
        f"{total['cache_hits']:,} replies came from the cache; "
        f"{total['failed']:,} of {total['failed'] + total['succeeded']:,} rows failed."
    ]


def _best(inputs: ReportInputs, name: str) -> list[str]:
    values = {label: result.means()[name] for label, result in inputs.results.items()}
    trained = {experiment.label: values[experiment.label] for experiment in inputs.experiments}
    untrained = {label: values[label] for label, _ in inputs.baselines}
    title, sentences = metric_title(name), []
    best = max(trained, key=lambda label: trained[label]) if trained else None
    if best is not None:
        sentences.append(f"Of the trained systems, {best} has the highest {title} on test: {trained[best]:.4f}.")
    if untrained:
        rival = max(untrained, key=lambda label: untrained[label])
        sentence = f"Without any training, {rival} reaches {untrained[rival]:.4f}"
        if best is not None:
            ahead = untrained[rival] >= trained[best]
            sentence += ", which no trained system beats" if ahead else f", less than {best}"
        sentences.append(f"{sentence}.")
    return sentences


def _tests(inputs: ReportInputs, comparison: Comparison | None, name: str, without: str) -> list[str]:
    semantic = [experiment.label for experiment in inputs.experiments if is_semantic(experiment)]
    if not semantic:
        return []
    tests = [comparison.find(label, name) for label in semantic] if comparison is not None else []
    return [describe_test(test) for test in tests if test is not None] or [without]
