"""The audit in words: the sentences at the top of its page, and what the terminal shows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hnlmrec.reporting.audit.content import Audit
from hnlmrec.reporting.audit.popularity import CATALOGUE
from hnlmrec.reporting.audit.rates import Rate
from hnlmrec.reporting.comparisons import headline, main_k
from hnlmrec.reporting.tables import metric_title


def summarise_audit(audit: Audit) -> list[str]:
    """Return the first words of the page: what was counted, computed from the results alone."""
    sentences = []
    for initialisation in dict.fromkeys(rate.initialisation for rate in audit.rates):
        own = [r for r in audit.rates if r.initialisation == initialisation and r.ratio is not None]
        if own:
            sentences.append(_extremes(own, initialisation))
    grounding = audit.grounding
    total = sum(grounding.values())
    if total:
        usable = grounding["catalogue"]
        sentences.append(
            f"Of {total:,} negatives that the language model was asked for, {usable:,} "
            f"({100 * usable / total:.1f} %) are items of the catalogue that the user does not have."
        )
    sentences.append(
        "A low FHNS rate alone proves nothing, since easy negatives are seldom false: read it beside accuracy."
    )
    return sentences


def audit_table(audit: Audit) -> str:
    """Return the lines of the terminal's summary: a row for each kind of negatives."""
    results = audit.inputs.results
    metric = next(iter(headline(results, main_k(results))), None) if results else None
    header = ["negatives", "draws", "FHNS rate", "ratio", "95 % interval", "above positive", "popularity"]
    rows = [[*header, metric_title(metric) if metric else ""]]
    last = {row.label: row.share_above for row in audit.hardness}
    skew = {(row.label, row.series): row.mean_percentile for row in audit.popularity if row.label != CATALOGUE}
    for rate in audit.rates:
        ratio, limits = rate.ratio, rate.ratio_interval
        accuracy = audit.accuracy[rate.label].get(metric) if metric else None
        rows.append(
            [
                f"{rate.series}, {rate.initialisation}",
                f"{rate.pairs:,}",
                f"{rate.rate:.5f}",
                "-" if ratio is None else f"{ratio:.2f}",
                "-" if limits is None else f"{limits[0]:.2f} to {limits[1]:.2f}",
                f"{100 * last[rate.label]:.1f} %" if rate.label in last else "-",
                f"{skew[rate.label, rate.series]:.1f}" if (rate.label, rate.series) in skew else "-",
                "" if accuracy is None else f"{accuracy:.4f}",
            ]
        )
    lines = [f"audit of {audit.inputs.name}", "", *_aligned(rows)]
    lines.append(
        "ratio: to uniform sampling; above positive: share that the model scores above it, last sampled epoch; "
        "popularity: mean percentile, 50 is even."
    )
    if audit.grounding:
        counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in audit.grounding.items())
        lines += ["", f"generated negatives: {counts}"]
    lines += [
        f"judge {judge.name}: AUC {_or_dash(judge.auc_uniform)} against uniform items" for judge in audit.judges
    ]
    lines += ["", "A low FHNS rate alone proves nothing: read it beside accuracy."]
    return "\n".join([*lines, *(f"left out: {reason}" for reason in audit.left_out())])


def user_text(user: Mapping[str, Any]) -> str:
    """Return what the page of one user says, as lines for a terminal."""
    items = user["items"]

    def title(number: int) -> str:
        return f"{items[str(number)]['title']} [{items[str(number)]['id']}]"

    lines = [f"user {user['id']}", f"facts: {user['facts'] or 'none'}", f"profile: {user['profile'] or 'none'}"]
    lines += ["", f"history ({user['history_size']} train items):", *(f"  {title(n)}" for n in user["history"])]
    lines += ["", "held out:", *(f"  {title(n)}" for n in user["held_out"])]
    lines += ["", "generated negatives:", *_generated_lines(user["generated"], title)]
    lines += ["", "drawn negatives:"]
    for part in user["drawn"]:
        lines.append(f"  {part['title']}: {part['draws']:,} draws kept, {part['held_out']} of them items held out")
        lines += [f"    {row['times']:>4} x {title(row['item'])}{_note(row)}" for row in part["rows"]]
    return "\n".join(_for_terminal(line) for line in lines)


def _extremes(rates: Sequence[Rate], initialisation: str) -> str:
    ordered = sorted(rates, key=lambda rate: rate.ratio or 0.0)
    low, high = ordered[0], ordered[-1]
    assert low.ratio is not None
    assert high.ratio is not None
    text = (
        f"With {initialisation} initialisation, {high.series} has the highest FHNS rate, {high.ratio:.2f} times "
    )
    text += "that of uniform sampling"
    return text + (f", and {low.series} the lowest, {low.ratio:.2f} times." if low is not high else ".")


def _generated_lines(rows: Sequence[Mapping[str, Any]], title: Any) -> Iterator[str]:
    for row in rows:
        positive = "" if row["positive"] is None else f", for {title(row['positive'])}"
        yield f"  {row['name'] or '(no name)'} ({row['outcome']}{positive}){_note(row)}"
        if row["reasoning"]:
            yield f"    because: {row['reasoning']}"
        for near in row["near"]:
            yield f"    near {near['cosine']:.2f}: {title(near['item'])}{_note(near)}"


def _note(row: Mapping[str, Any]) -> str:
    judged = ["a judge called it false"] if row.get("judged_false") else []
    notes = [note for note in (row["relation"], *judged) if note]
    return f"  <- {', '.join(notes)}" if notes else ""


def _for_terminal(text: str) -> str:
    """Take out marks that turn the direction of all that follows; `shown` has taken out control characters."""
    return "".join(c for c in text if unicodedata.bidirectional(c) not in _TURNING)


_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
