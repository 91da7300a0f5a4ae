"""The batch script for SLURM as far as one machine goes: training is real, `srun` and `scontrol` are not."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fm_unroll.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments/slurm/fit.sbatch"

JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "fm_unroll",
    "SLURM_ARRAY_JOB_ID": "4700",
    "SLURM_ARRAY_TASK_ID": "1",
    "SLURM_NNODES": "1",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_CPUS_PER_TASK": "1",
}
STEP = {"SLURM_STEP_ID": "0"}  # set by srun alone


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def cluster(tmp_path, synthetic) -> dict[str, str]:
    """Environment of an array task with two configs, of which the second is a tiny run."""
    executable(tmp_path / ".venv/bin/python", f'exec {sys.executable} "$@"')
    executable(
        tmp_path / "bin/srun",
        "while [[ $1 == --* ]]; do shift; done\n"
        'SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_STEP_ID=0 exec "$@"',
    )
    executable(tmp_path / "bin/scontrol", f'echo "$@" >> {tmp_path}/scontrol.log')
    config = {
        "model": {
            "num_cascades": 1,
            "chans": 2,
            "pools": 2,
            "sens_chans": 2,
            "sens_pools": 2,
        },
        "data": {
            "class_path": "CMRxReconData",
            "init_args": {
                "root": str(synthetic),
                "acs_lines": 8,
                "contrasts": ["cine_sax"],
                "num_workers": 0,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 2,
            "limit_train_batches": 2,
            "enable_progress_bar": False,
            "log_every_n_steps": 1,
        },
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/tiny.yaml").write_text(yaml.safe_dump(config))
    return {
        **os.environ,
        **JOB,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FM_UNROLL_DIR": str(tmp_path),
        "CONFIGS": "configs/other.yaml\nconfigs/tiny.yaml",
    }


def test_script_passes_the_linter():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    linted = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), SCRIPT], capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout


def test_header_is_what_sbatch_reads():
    lines = SCRIPT.read_text().splitlines()
    directives = [line for line in lines if line.startswith("#SBATCH")]
    # sbatch stops reading at the first command
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(line in directives for line in lines[first_command:] if "#SBATCH" in line)
    options = dict(re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line).groups() for line in directives)
    assert {"requeue", "signal", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time"} <= {
        *options
    }
    assert options["signal"].startswith("B:USR1@")


@pytest.mark.parametrize(
    "variable, value, words",
    [
        ("FM_UNROLL_DIR", None, "FM_UNROLL_DIR is not set"),
        ("FM_UNROLL_DIR", "/nowhere", "has no .venv"),
        ("CONFIGS", None, "CONFIGS is not set"),
        ("SLURM_ARRAY_TASK_ID", None, "not in a job array"),
        ("SLURM_ARRAY_TASK_ID", "2", "array task 2 has no config: there are 2"),
        ("SLURM_ARRAY_TASK_ID", "0", "configs/other.yaml is not a file"),
        ("SLURM_NTASKS_PER_NODE", None, "submit with sbatch"),
    ],
)
def test_without_its_variables_it_says_what_is_missing(cluster, variable, value, words):
    cluster.pop(variable)
    if value is not None:
        cluster[variable] = value
    ended = subprocess.run(["bash", SCRIPT], env=cluster, capture_output=True, text=True)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1 and words in ended.stderr


def test_a_job_is_stopped_requeued_and_resumed(cluster, tmp_path):
    run_dir = tmp_path / "runs/e2e_varnet_x8/seed3"
    cluster["SEED"] = "3"
    endless = {**cluster, "OPTIONS": "--trainer.max_epochs 1000"}
    with subprocess.Popen(["bash", SCRIPT], env=endless, stdout=subprocess.PIPE, text=True) as job:
        deadline = time.monotonic() + 120
        while not (run_dir / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        job.send_signal(signal.SIGUSR1)
        output = job.communicate()[0]
    assert job.returncode == 0, output
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4700_1\n"
    done = pd.read_csv(run_dir / "metrics.csv").epoch.max()

    # the same job again, with an epoch more to do than it had done
    last = {**cluster, "OPTIONS": f"--trainer.max_epochs {done + 2:.0f}"}
    ended = subprocess.run(["bash", SCRIPT], env=last, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    validated = pd.read_csv(run_dir / "metrics.csv").dropna(subset="val/ssim").epoch
    assert validated.is_unique and validated.max() == done + 1
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["seed_everything"] == 3


@pytest.mark.parametrize(
    "environment, options, words",
    [
        ({**JOB, **STEP, "SLURM_NTASKS_PER_NODE": "4"}, ["--trainer.devices", "1"], "--ntasks-per-node=4"),
        ({**JOB, **STEP, "SLURM_NNODES": "2"}, ["--trainer.devices", "1"], "--nodes=2"),
        ({**JOB, "SLURM_NTASKS": "2"}, ["--trainer.num_nodes", "2"], "start one process per GPU with srun"),
        (
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"},
            ["--trainer.devices", "1"],
            "world size (2)",
        ),
        ({}, ["--trainer.accelerator", "cuda", "--trainer.devices", "99"], "trainer cannot be set up"),
    ],
)
def test_devices_that_are_not_there_are_refused(environment, options, words, cluster, monkeypatch, capsys):
    monkeypatch.chdir(cluster["FM_UNROLL_DIR"])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "--config", "configs/tiny.yaml", *options])
    assert exit_.value.code == 2
    messages = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1 and words in messages[0]
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["sys/dashboard/jupyter", "bash"])
def test_an_interactive_session_runs_by_itself(name, cluster, monkeypatch, recwarn):
    """It inherits the variables of a job of four tasks, which srun did not start."""
    monkeypatch.chdir(cluster["FM_UNROLL_DIR"])
    tasks = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for variable, value in {**JOB, **tasks, "SLURM_JOB_NAME": name}.items():
        monkeypatch.setenv(variable, value)
    main(["fit", "--config", "configs/tiny.yaml", "--trainer.fast_dev_run=true", "--trainer.devices=1"])
    said = [str(warning.message) for warning in recwarn if "SLURM gave this job 4" in str(warning.message)]
    assert len(said) == (name != "bash")
