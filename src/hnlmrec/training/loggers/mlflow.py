"""MLflow: parameters and figures to a tracking server, or to whatever MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from hnlmrec.errors import ConfigError, MissingDependencyError
from hnlmrec.training.loggers.base import LoggedRun

_RUN_ID = "mlflow_run_id"


class MLflowLogger:
    """Keeps one MLflow run for a training, a resumed one included: its id is in the run's folder.

    MLflow's own variables apply: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME ("hnlmrec" where it is not set) and
    those of its credentials. MLflow allows no "@" in names, so recall@20 becomes recall_at_20.

    Raises:
        MissingDependencyError: mlflow is not installed.
        ConfigError: the tracking server cannot be reached, or refuses.
    """

    def __init__(self, run: LoggedRun) -> None:
        try:
            from mlflow import MlflowClient  # noqa: PLC0415
            from mlflow.entities import Metric, Param  # noqa: PLC0415
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
        except ImportError:
            raise MissingDependencyError("mlflow", "tracking") from None
        self._metric, self._param, self._error = Metric, Param, MlflowException
        with self._explained():
            self._client = MlflowClient()
            self._run_id = self._open(run)

    def __enter__(self) -> MLflowLogger:
        """The run is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell MLflow how the run ended."""
        ended = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        with self._explained():
            self._client.set_terminated(self._run_id, ended)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Send the figures of an epoch in one request."""
        now = int(time.time() * 1000)
        metrics = [self._metric(name.replace("@", "_at_"), value, now, epoch) for name, value in values.items()]
        with self._explained():
            self._client.log_batch(self._run_id, metrics=metrics)

    def _open(self, run: LoggedRun) -> str:
        """Return the id of the folder's run, or of a new one."""
        kept = run.folder / _RUN_ID
        if kept.exists():
            run_id = kept.read_text(encoding="utf-8").strip()
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "hnlmrec")
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        run_id = str(self._client.create_run(experiment_id, run_name=run.name).info.run_id)
        parameters = [self._param(name, str(value)) for name, value in run.parameters.items()]
        self._client.log_batch(run_id, params=parameters)
        run.folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(run_id + "\n", encoding="utf-8")
        return run_id

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (self._error, ImportError) as error:  # a store in a database needs packages of its own
            raise ConfigError(
                f"MLflow cannot be used: {error} Set MLFLOW_TRACKING_URI to a server that answers, for example "
                "http://localhost:5000 (`mlflow server` starts one), or leave 'mlflow' out of training.loggers. "
                "Training goes on from its last checkpoint."
            ) from None
