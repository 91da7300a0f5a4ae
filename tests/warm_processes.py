"""Processes that have imported everything already.

Starting Python with Lightning takes many times as long as what most tests do in a process of its own. They
are forked from one server, which each test process starts once.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

COMMAND = "import sys; from fm_unroll.cli import main; main(sys.argv[1:])"  # python -m fm_unroll
PATIENCE = 300  # seconds


def start(
    arguments: list[str],
    code: str = COMMAND,
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> BaseProcess:
    """Start a process that runs some code with these arguments; what it prints goes into a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fm_unroll.training.run", "fm_unroll.commands.cross_domain"])
    settings = dict(os.environ) | dict(environment or {})
    process = context.Process(target=_run, args=(code, arguments, settings, str(Path.cwd()), output))
    process.start()
    return process


def run_together(processes: int, arguments: list[str], folder: Path, code: str = COMMAND) -> None:
    """Run some processes as ``torchrun --standalone --nproc-per-node`` does, and wait for their end.

    Args:
        processes: their number.
        arguments: of each.
        folder: for what they print, which is shown if one fails.
        code: what each runs.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "GROUP_RANK": 0, "MASTER_PORT": port}
    world |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "tests"}
    outputs = [folder / f"process_{rank}.txt" for rank in range(processes)]
    started = []
    for rank, output in enumerate(outputs):
        ranks = world | {"RANK": rank, "LOCAL_RANK": rank}
        environment = {name: str(value) for name, value in ranks.items()}
        started.append(start(arguments, code, environment, output))
    try:
        for process in started:
            process.join(PATIENCE)
    finally:
        for process in started:
            process.kill()
            process.join()
    assert [process.exitcode for process in started] == [0] * processes, "\n".join(
        output.read_text() for output in outputs
    )


def _run(
    code: str, arguments: list[str], environment: Mapping[str, str], folder: str, output: Path | None
) -> None:
    # what is forked here starts its own processes as any other does: those end with it when it is killed
    multiprocessing.set_start_method("fork", force=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if output is not None:
        printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
    sys.argv = ["fm_unroll", *arguments]
    exec(compile(code, "fm_unroll", "exec"), {"__name__": "__main__"})
