"""The runs of a W&B sweep on one machine, one after another, without a W&B server.

W&B's own packages choose the points (``sweeps``) and make their command lines. A run is told its id as
``wandb agent`` tells it, so that one sweep file serves both.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fm_unroll.config_files import expand_words
from fm_unroll.consent import OPTION, consented, named_by, require_consent, split_consent
from fm_unroll.errors import InputError
from fm_unroll.files import read_json, write_json
from fm_unroll.metrics import VOLUME_METRICS
from fm_unroll.training.run import check
from fm_unroll.training.run_folder import LOCAL_SWEEP, WANDB_RUN

# A sweep file, a point of it or the record of one run, by name.
Content = dict[str, Any]

SWEPT_VERBS = ("fit", "validate", "test")


def run_sweep(file: Path, max_runs: int | None, output: Path) -> None:
    """Run what is left of a sweep; see :func:`fm_unroll.commands.sweep.sweep`."""
    config = read_sweep(file)
    for parameters in points_to_check(config):
        require_runnable(config, parameters, file)
    trusted = [f"{OPTION}={name}" for name in consented()]
    folder = output / file.stem
    record = Record(folder / "sweep.json", config)
    for run in record.runs:
        if run["state"] != "finished":
            require_runnable(config, run["parameters"], record.path)
    if (limit := record.left(max_runs)) is None:
        raise InputError(
            f"{file}: a {config['method']} sweep has no end: give --max-runs, or run_cap in the file"
        )
    failures = 0
    for number in range(1, limit + 1):
        run = record.next()
        varied = " ".join(f"{name}={value}" for name, value in run["parameters"].items())
        print(f"run {number} of {limit}: {folder / run['id']}: {varied}", flush=True)
        run_dir = folder / run["id"]
        status = execute(
            [*command(config, run["parameters"]), *trusted, f"--trainer.default_root_dir={run_dir}"],
            run["id"],
        )
        failed, metric = status != 0, None
        if not failed and "metric" in config:
            metric = best(run_dir / "metrics.csv", config)
            failed = metric is None
        record.finish(run, failed, metric)
        failures += failed
    print_runs(record.runs, config)
    if failures:
        raise InputError(f"{failures} of {limit} runs failed, see above; the same command tries them again")


class Record:
    """The runs of a sweep so far, kept in a file: id, parameters, state and metric of each."""

    def __init__(self, path: Path, config: Content) -> None:
        """Load the record, or begin one.

        Raises:
            InputError: the record is of another sweep, or not as a sweep writes it.
        """
        self.path = path
        self.config = config
        self.runs: list[Content] = []
        if recorded := read_json(path):
            if recorded.get("sweep") != config:
                raise InputError(
                    f"{path.parent} holds the runs of another version of this sweep: "
                    "rename the file, give another --output, or delete the folder"
                )
            self.runs = recorded.get("runs", [])
            if not (isinstance(self.runs, list) and all(is_run(run, config) for run in self.runs)):
                raise InputError(
                    f"{path} does not hold runs of this sweep as it writes them: give another --output, or "
                    "delete the folder"
                )

    def left(self, max_runs: int | None) -> int | None:
        """Count the runs that are still to be done, at most; None for a sweep without an end."""
        unfinished = sum(run["state"] != "finished" for run in self.runs)
        limits = [] if max_runs is None else [max_runs]
        if "run_cap" in self.config:
            limits.append(self.config["run_cap"] - len(self.runs) + unfinished)
        if self.config["method"] == "grid":
            limits.append(sum(1 for _ in sample(self.config, self.runs)) + unfinished)
        return max(min(limits), 0) if limits else None

    def next(self) -> Content:
        """Choose the run to do now: one that was interrupted or failed, else a new one."""
        tried = next((run for run in self.runs if run["state"] == "running"), None)
        tried = tried or next((run for run in self.runs if run["state"] == "failed"), None)
        if tried is None:
            tried = {"id": secrets.token_hex(4), "parameters": next(sample(self.config, self.runs))}
            self.runs.append(tried)
        tried |= {"state": "running", "metric": None}
        self.save()
        return tried

    def finish(self, run: Content, failed: bool, metric: float | None) -> None:
        """Note how a run ended."""
        run |= {"state": "failed" if failed else "finished", "metric": metric}
        self.save()

    def save(self) -> None:
        """Write the record, whole or not at all."""
        write_json(self.path, {"sweep": self.config, "runs": self.runs})


def is_run(run: object, config: Content) -> bool:
    """Whether what a record holds is a run of its sweep: anybody may have written the file."""
    return (
        isinstance(run, dict)
        and run.keys() == {"id", "parameters", "state", "metric"}
        and re.fullmatch("[0-9a-f]{8}", str(run["id"])) is not None  # the name of its folder
        and isinstance(run["parameters"], dict)
        and run["parameters"].keys() == config["parameters"].keys()
        and run["state"] in ("running", "failed", "finished")
        and isinstance(run["metric"], float | None)
    )


def require_runnable(config: Content, parameters: Content, source: Path) -> None:
    """Refuse a point of a sweep that may not be started, or could not run.

    Neither a sweep file nor the record of an earlier sweep speaks for the user: a network of the user's own
    has to be named on the command line of the sweep itself.

    Args:
        config: the sweep.
        parameters: of the point.
        source: the file that they are from.

    Raises:
        InputError: it would start something else, names a network that this command does not name, or has
            options that cannot be used.
    """
    words = command(config, parameters)
    if words[:3] != [sys.executable, "-m", "fm_unroll"] or not {*words[3:4]} & {*SWEPT_VERBS}:
        raise InputError(
            f"{source} would start {' '.join(words[:4])!r}: "
            f"only `python -m fm_unroll` with one of {', '.join(SWEPT_VERBS)} can be swept"
        )
    named, rest = split_consent(words[3:])
    for name in [*named, *named_by(rest)]:
        require_consent(name, str(source))
    check(rest)


def read_sweep(file: Path) -> Content:
    """Read a sweep file and check it by W&B's own schema.

    Raises:
        InputError: no such file, not a sweep, or one whose command is not a verb of this program.
    """
    if not file.is_file():
        raise InputError(f"sweep {file} is not a file")
    try:
        config = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not plain YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise InputError(f"{file} is not a sweep: give method, parameters and command")
    violations = sampler().schema_violations_from_proposed_config(known_to_sampler(config))
    missing = [key for key in ("parameters", "command") if key not in config]
    if violations or missing:
        raise InputError(f"{file}: {'; '.join([*violations, *(f'{key} is missing' for key in missing)])}")
    for name, parameter in config["parameters"].items():
        if "parameters" in parameter:
            raise InputError(f"{file}: {name} is nested: give dotted names, such as {name}.learning_rate")
    verb = next(iter(command(config, {})[3:4]), "")
    measured = [f"{'test' if verb == 'test' else 'val'}/{name}" for name in VOLUME_METRICS]
    if "metric" in config and config["metric"]["name"] not in measured:
        raise InputError(
            f"{file}: `{verb}` has no metric {config['metric']['name']}: use {', '.join(measured)}"
        )
    return config


def sampler() -> ModuleType:
    """Import W&B's package of sampling algorithms.

    Raises:
        InputError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # it is written for pydantic 1 as well
            warnings.filterwarnings("ignore", "Valid config keys have changed")
            import sweeps
    except ImportError:
        raise InputError("W&B's sampler is not installed: pip install 'fm_unroll[sweeps]'") from None
    module: ModuleType = sweeps
    return module


def known_to_sampler(config: Content) -> Content:
    """Leave ``run_cap`` out of a sweep: W&B has it, but its published schema does not."""
    return {key: value for key, value in config.items() if key != "run_cap"}


def sample(config: Content, runs: list[Content]) -> Iterator[Content]:
    """Yield the points that W&B's sampler would try after some runs, as plain values."""
    sweeps = sampler()
    tried = []
    for run in runs:
        values = {name: {"value": value} for name, value in run["parameters"].items()}
        tried.append(sweeps.SweepRun(config=values, state=run["state"]))
        if run["metric"] is not None:
            tried[-1].summary_metrics = {config["metric"]["name"]: run["metric"]}
    while True:
        # the sampler draws from NumPy's global generator: the same runs give the same next one
        np.random.seed(len(tried))  # noqa: NPY002
        with warnings.catch_warnings():
            # of the fit of few runs, in a bayes sweep
            warnings.filterwarnings("ignore", module="sklearn")
            suggested = sweeps.next_run(sweeps.SweepConfig(known_to_sampler(config)), tried)
        if suggested is None:
            return
        suggested.state = sweeps.RunState.running
        tried.append(suggested)
        yield {
            name: entry["value"].item() if isinstance(entry["value"], np.generic) else entry["value"]
            for name, entry in suggested.config.items()
        }


def points_to_check(config: Content) -> Iterator[Content]:
    """Yield a few sampled points, and points in which every listed value of every parameter occurs."""
    sampled = list(islice(sample(config, []), 3))
    yield from sampled
    for name, parameter in config["parameters"].items():
        for value in parameter.get("values", []):
            yield {**sampled[0], name: value}


def command(config: Content, parameters: Content) -> list[str]:
    """Make the command line of one point as ``wandb agent`` does: python, ``-m fm_unroll VERB``, options."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    macros = create_sweep_command_args(
        {"args": {name: {"value": value} for name, value in parameters.items()}}
    )
    macros |= {"env": [], "interpreter": [sys.executable], "program": [config.get("program", "")]}
    words: list[str] = []
    for word in map(str, create_sweep_command(list(config["command"]))):
        is_macro = word.startswith("${") and word.endswith("}")
        words += macros.get(word[2:-1], []) if is_macro else [word]
    program = [sys.executable if word == "python" else word for word in words[:1]]
    return [*program, *expand_words(words[1:])]


def execute(words: list[str], run_id: str) -> int:
    """Run a command to its end and return its exit status; it does not outlive this process."""
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with subprocess.Popen(words, env={**os.environ, LOCAL_SWEEP: "1", WANDB_RUN: run_id}) as process:
            try:
                return process.wait()
            except BaseException:
                process.terminate()
                raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def best(metrics: Path, config: Content) -> float | None:
    """Read the best value of the sweep's metric in a run; say so and return None if it was not logged."""
    name = config["metric"]["name"]
    table = pd.read_csv(metrics) if metrics.is_file() else pd.DataFrame()
    logged = table[name].dropna() if name in table else pd.Series(dtype=float)
    if not len(logged):
        print(f"{metrics} has no {name}: does the command turn validation or the logger off?", flush=True)
        return None
    return float(logged.max() if config["metric"].get("goal") == "maximize" else logged.min())


def print_runs(runs: list[Content], config: Content) -> None:
    """Print all runs with the parameters that differ between them, the best first."""
    table = pd.DataFrame([{"id": run["id"], **run["parameters"]} for run in runs])
    table = table.loc[:, [name == "id" or table[name].astype(str).nunique() > 1 for name in table]]
    table["state"] = [run["state"] for run in runs]
    if "metric" in config:
        name, ascending = config["metric"]["name"], config["metric"].get("goal") != "maximize"
        table[name] = [run["metric"] for run in runs]
        table = table.sort_values(name, ascending=ascending, na_position="last")
    print(table.to_string(index=False))
