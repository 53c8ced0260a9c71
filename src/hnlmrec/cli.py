"""The command line: thin, with results on stdout and everything else on stderr.

Exit status: 0 done; 2 the user's input is wrong; 1 a fault of ours; 130 interrupted, the same command goes on.
"""

from __future__ import annotations

import errno
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hnlmrec import __version__
from hnlmrec.console import RichProgress, log_to_stderr, stderr
from hnlmrec.errors import HnlmrecError

if TYPE_CHECKING:
    from hnlmrec.pipeline.config import RunConfig

app = typer.Typer(
    help="Hard negative sampling via large language models for collaborative filtering.",
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Data sets: list, fetch, prepare, describe.", no_args_is_help=True)
config_app = typer.Typer(help="Shipped configurations: list, show, copy, validate.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")

_WRONG_PATHS = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EROFS)
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings to change, for example training.epochs=5.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its name below runs/.")]


@app.callback()
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; errors become one clear message and an exit status."""
    try:
        app()
    except HnlmrecError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail(f"the disk is full ({error}). What was made so far is kept; make room and try again.", 2)
        if error.errno not in _WRONG_PATHS or not error.filename:
            raise
        _fail(f"{error.filename}: {error.strerror}. Give a path that is there and may be used.", 2)
    except SystemExit as status:
        if status.code == 130:
            stderr.print("interrupted; the same command goes on from here.", style="yellow")
        raise


def _fail(message: str, status: int) -> None:
    stderr.print("error:", style="bold red", end=" ")
    stderr.print(message, markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)


@app.command()
def demo(overrides: Overrides = None, *, as_json: Json = False, verbose: Verbose = False) -> None:
    """Run the whole method on a subset of MovieLens-100K with an embedded LLM: a few minutes on two cores."""
    from hnlmrec.pipeline.shipped import load_shipped

    _run(load_shipped("demo", overrides or ()), until=None, plan=False, as_json=as_json, verbose=verbose)


@app.command()
def run(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="A TOML file, or the name of a shipped one.")
    ],
    overrides: Overrides = None,
    *,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.", metavar="STAGE")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print LLM calls, tokens and cost; make none.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run every stage that a configuration asks for, and write the report."""
    from hnlmrec.pipeline.shipped import load_run_config

    _run(load_run_config(config, overrides or ()), until=until, plan=plan, as_json=as_json, verbose=verbose)


@app.command()
def train(
    dataset: Annotated[
        str, typer.Argument(help="A prepared artefact, a folder of interactions, or an asset's name.")
    ],
    overrides: Overrides = None,
    *,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "lightgcn",
    sampler: Annotated[str, typer.Option(help="Name of the negative sampler.")] = "uniform",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train one model with one sampler on one data set, and evaluate it."""
    from hnlmrec.pipeline.shipped import training_config

    config = training_config(dataset, model, sampler, overrides or ())
    _run(config, until="evaluate", plan=False, as_json=as_json, verbose=verbose)


@app.command()
def report(run_folder: RunFolder) -> None:
    """Write a run's report anew from its result files, and print its path."""
    from hnlmrec.pipeline.report import write_run_report
    from hnlmrec.pipeline.results import open_run

    typer.echo(write_run_report(open_run(run_folder)))


@app.command()
def audit(
    run_folder: RunFolder,
    user: Annotated[str | None, typer.Option(help="Only this user, by id: a page of its own.")] = None,
    users: Annotated[int, typer.Option(min=0, help="Users in the page's browser at most.")] = 200,
    *,
    as_json: Json = False,
) -> None:
    """Examine a run's negatives: false ones, hardness, popularity, distances, and a browser of its users."""
    from hnlmrec.pipeline.report import write_run_audit, write_run_user_audit
    from hnlmrec.pipeline.results import open_run
    from hnlmrec.reporting.audit import audit_table, user_text

    opened = open_run(run_folder)
    if user is not None:
        path, described = write_run_user_audit(opened, user)
        said: dict[str, Any] = {"run": opened.result["name"], "user": described}
        text = user_text(described)
    else:
        path, found = write_run_audit(opened, users=users)
        said, text = found.as_json(), audit_table(found)
    if as_json:
        typer.echo(json.dumps({**said, "page": str(path)}))
        return
    typer.echo(f"{text}\n\naudit: {path}")


@app.command()
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY.toml|RUN...",
            help="A study file or a shipped study's name, then KEY=VALUE; or run folders, the reference first.",
        ),
    ],
    metric: Annotated[str, typer.Option(help="Metric to test, of run folders.")] = "recall@20",
    *,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run what is missing of a study, or compare finished runs: paired tests over users, Holm-corrected."""
    from hnlmrec.studies.files import is_study

    if is_study(sources[0]):
        _run_study(sources[0], sources[1:], as_json=as_json, verbose=verbose)
        return
    from hnlmrec.pipeline.results import compare_runs, open_run

    comparison = compare_runs([open_run(Path(folder)) for folder in sources], metric)
    if as_json:
        typer.echo(json.dumps(asdict(comparison)))
        return
    for row in comparison.tests:
        typer.echo(
            f"{row.label} against {row.baseline}: {row.metric} {row.mean:.4f} against {row.baseline_mean:.4f}, "
            f"p = {row.p_adjusted:.2g} ({comparison.test}, {comparison.correction}), {row.n_users} users"
        )


def _run_study(source: str, overrides: list[str], *, as_json: bool, verbose: bool) -> None:
    from hnlmrec.studies.files import load_study
    from hnlmrec.studies.run import run_study, study_text

    log_to_stderr(verbose=verbose)
    if not verbose:  # thousands of lines about stages would hide how far the study has come
        logging.getLogger("hnlmrec").setLevel(logging.WARNING)
    result = run_study(load_study(source, overrides))
    typer.echo(json.dumps(result, ensure_ascii=False) if as_json else study_text(result))
    if result["failed"]:
        raise typer.Exit(1)


@app.command()
def results(
    studies: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS/STUDY]...", help="Folders of finished studies.", show_default=False),
    ] = None,
    *,
    into: Annotated[Path, typer.Option(help="Folder of the copies, to be committed.")] = Path(
        "experiments/results"
    ),
    page: Annotated[Path, typer.Option(help="The overview; pages of studies: beside it.")] = Path(
        "docs/results.md"
    ),
) -> None:
    """Copy what matters of studies into a folder, and write the pages of results from all that is there."""
    from hnlmrec.reporting.results import publish_study, write_results_page

    for folder in studies or ():
        stderr.print(f"{publish_study(folder, into, page.with_suffix(''))}", markup=False, highlight=False)
    typer.echo(write_results_page(into, page))


@app.command()
def recommend(
    run_folder: RunFolder,
    user: Annotated[str | None, typer.Option(help="A known user's id.")] = None,
    history: Annotated[str | None, typer.Option(help="A new user's items: ids with commas between them.")] = None,
    history_file: Annotated[
        Path | None, typer.Option(help="A new user's items: a file with an id a line.")
    ] = None,
    similar: Annotated[str | None, typer.Option(help="An item's id: items like it.")] = None,
    *,
    everyone: Annotated[bool, typer.Option("--all", help="For all users, into the file of --out.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --all: a Parquet file.")] = None,
    cold_items: Annotated[
        Path | None,
        typer.Option(help="Recommend these items (as items.jsonl or .csv) by text, not the catalogue."),
    ] = None,
    judge: Annotated[
        bool, typer.Option("--judge", help="With --user or --all: the lists of the run's judge, not the model's.")
    ] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of items.")] = 10,
    as_json: Json = False,
) -> None:
    """Recommend items that a user does not have: to known or new users, or to all; cold items too."""
    from hnlmrec.pipeline.results import open_run
    from hnlmrec.serving.requests import Request, answer, text_of

    request = Request(user, history, history_file, similar, everyone, out, cold_items, judge, k)
    said = answer(open_run(run_folder), request)
    typer.echo(json.dumps(said, ensure_ascii=False) if as_json else text_of(said))


@app.command()
def export(
    run_folder: RunFolder,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="parquet, safetensors, faiss, negatives, recbole, sentence-transformers or torch.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder; export/FORMAT in the run's folder by default.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Write a run's embeddings or negatives in the format of another tool, and print the folder."""
    from hnlmrec.exporting.formats import export_run
    from hnlmrec.pipeline.results import open_run

    done = export_run(open_run(run_folder), format_, out)
    typer.echo(json.dumps(done) if as_json else done["path"])


@app.command()
def information(
    run_folder: RunFolder,
    overrides: Overrides = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder; information/ in the run's folder by default.")] = None,
    as_json: Json = False,
) -> None:
    """Bound the mutual information of the LLM's and the CF vectors, before and after the fine-tuning."""
    from hnlmrec.config import apply_overrides, build
    from hnlmrec.evaluation.mutual_information import InformationConfig
    from hnlmrec.pipeline.information import information_text, measure_information
    from hnlmrec.pipeline.results import open_run

    config = build(InformationConfig, apply_overrides({}, overrides or ()))
    described = measure_information(open_run(run_folder), config, out=out, progress=RichProgress())
    typer.echo(json.dumps(described) if as_json else information_text(described))


@app.command()
def simulate(
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/simulation"),
    as_json: Json = False,
) -> None:
    """Measure each sampler's gradient bias in worlds with planted preferences, where false negatives are known."""
    import torch

    from hnlmrec.config import apply_overrides, build
    from hnlmrec.simulation.study import SimulationConfig, simulation_json, simulation_text
    from hnlmrec.simulation.study import simulate as run_simulation

    config = build(SimulationConfig, apply_overrides(SimulationConfig().model_dump(mode="json"), overrides or ()))
    torch.set_num_threads(1)  # tables this small are slower on several
    result = run_simulation(config, out, RichProgress())
    typer.echo(
        json.dumps(simulation_json(result, config)) if as_json else f"{simulation_text(result, config)}; {out}"
    )


@app.command()
def doctor(
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint to ask.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Say what this machine has, what is missing, and how to get it."""
    from hnlmrec.diagnostics import run_checks

    checks = run_checks(base_url=base_url)
    if as_json:
        typer.echo(json.dumps([check.as_dict() for check in checks]))
    else:
        for check in checks:
            typer.echo(f"{check.status:<5} {check.name:<28} {check.detail}")
            if check.advice:
                typer.echo(f"      {'':<28} -> {check.advice}")
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(2)


@data_app.command("list")
def data_list() -> None:
    """List the assets, and say which are in the cache."""
    from hnlmrec.assets import ASSETS, is_present

    for name, asset in ASSETS.items():
        typer.echo(f"{name:<24} {'cached' if is_present(name) else '-':<8} {asset.title}")


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="Name of an asset.")]) -> None:
    """Fetch an asset into the cache, check its sha256, and print its path."""
    from hnlmrec.assets import fetch

    log_to_stderr()
    typer.echo(fetch(name))


@data_app.command("prepare")
def data_prepare(source: str, overrides: Overrides = None, *, as_json: Json = False) -> None:
    """Read, filter and split a data set into the artefact store, and print the artefact's path."""
    from hnlmrec.pipeline.run import prepare_only
    from hnlmrec.pipeline.shipped import data_config

    log_to_stderr()
    result = prepare_only(data_config(source, overrides or ()))
    typer.echo(json.dumps({"path": str(result.path), **result.counts}) if as_json else result.path)


@data_app.command("stats")
def data_stats(source: str, overrides: Overrides = None) -> None:
    """Print the statistics of a data set after its preparation, as JSON."""
    from hnlmrec.pipeline.run import prepare_only
    from hnlmrec.pipeline.shipped import data_config

    result = prepare_only(data_config(source, overrides or ()))
    typer.echo((result.path / "statistics.json").read_text(encoding="utf-8").rstrip())


@config_app.command("list")
def config_list() -> None:
    """List the shipped configurations."""
    from hnlmrec.pipeline.shipped import shipped_configs

    for name, path in shipped_configs().items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        typer.echo(f"{name:<20} {first.removeprefix('#').strip()}")


@config_app.command("show")
def config_show(config: Path, overrides: Overrides = None) -> None:
    """Print a configuration with every default filled in, as TOML."""
    from hnlmrec.config import to_toml
    from hnlmrec.pipeline.shipped import load_run_config

    typer.echo(to_toml(load_run_config(config, overrides or ())), nl=False)


@config_app.command("copy")
def config_copy(name: str, target: Path) -> None:
    """Copy a shipped configuration to a new file, to be changed there."""
    from hnlmrec.pipeline.shipped import copy_shipped

    typer.echo(copy_shipped(name, target))


@config_app.command("validate")
def config_validate(config: Path, overrides: Overrides = None) -> None:
    """Check a configuration; every problem is listed, with exit status 2."""
    from hnlmrec.pipeline.shipped import load_run_config

    load_run_config(config, overrides or ())
    typer.echo(f"{config}: valid")


def _run(config: RunConfig, *, until: str | None, plan: bool, as_json: bool, verbose: bool) -> None:
    from hnlmrec.pipeline.results import summary_table
    from hnlmrec.pipeline.run import plan_run, run_pipeline

    log_to_stderr(verbose=verbose)
    if plan:
        typer.echo(json.dumps(plan_run(config), indent=None if as_json else 2))
        return
    result: dict[str, Any] = run_pipeline(config, until=until, progress=RichProgress())
    if not result:  # not the main one of several processes
        return
    typer.echo(json.dumps(result, ensure_ascii=False) if as_json else summary_table(result))
