"""The command `fsp`, run as a user runs it but for the seconds that loading its libraries takes; scripts of experiments.

Each call is a process of its own, forked off a server that has loaded them already.
"""

import importlib.util
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

HANG = 1800  # seconds after which a test takes it that nothing will come: no machine is so slow, so only a hang fails

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["fsp.cli.app", "fsp.run", "fsp.distillation.pretraining.run", "fsp.finetuning.finetune", "fsp.deploy.exporting"]
)


def become(words: Sequence[str], output: Path) -> None:
    """Turn this process into a command, before its `main` is called: its arguments, signals and output files."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["fsp", *words]
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)


def _call(words: Sequence[str], output: Path, folder: Path, umask: int, environment: dict[str, str]) -> None:
    os.umask(umask)
    os.chdir(folder)
    os.environ.update(environment)
    become(words, output)
    from fsp.cli.app import main

    main()


def fsp(*words: object, cwd: Path | None = None, umask: int = 0o022, **environment: str) -> CompletedProcess[str]:
    """Run a command to its end, in the present folder; a search in one that goes, for it keeps its evaluations there.

    What libraries read of the environment while they are loaded cannot be given here.
    """
    with tempfile.TemporaryDirectory() as output:
        folder = cwd or (Path(output) if words[0] == "extract" else Path.cwd())
        arguments = ([*map(str, words)], Path(output), folder, umask, environment)
        process = SERVER.Process(target=_call, args=arguments)
        process.start()
        process.join(HANG)
        if process.exitcode is None:
            process.kill()
            process.join()
        printed = [(Path(output) / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        return CompletedProcess(words, process.exitcode, *printed)


def experiment(name: str) -> ModuleType:
    """Load a script of `experiments/` by its path there."""
    path = Path(__file__).parents[1] / "experiments" / name
    spec = importlib.util.spec_from_file_location(name.replace("/", "_").removesuffix(".py"), path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
