"""Limits on time and memory, and that memory stays flat however long the work takes."""

import json
import os
import resource
import time

import numpy as np
import pytest
import torch
from running import HANG, SERVER, fsp

from fsp.base.errors import InputError, is_out_of_memory
from fsp.base.machine import keep_memory, keep_time, processors
from fsp.distillation.inputs import prepare
from fsp.distillation.pretraining.run import pretrain
from fsp.distillation.pretraining.settings import PretrainingSettings as PretrainingSettings
from fsp.distillation.settings import SurrogateSettings as ExtractionSettings
from fsp.finetuning.settings import FinetuningSettings as FinetuningSettings
from fsp.search.extraction import extract
from fsp.spaces.space import SearchSpace

BAD_TIMES = ["0", "-1", "nan", "inf"]
BAD_AMOUNTS = ["much", "4 GiB", "-4GB", "500MB", "1e3GB", "99999999TB"]


@pytest.fixture
def one_processor():
    """This process may use one processor of the machine's, as under `taskset` or a cluster's scheduler."""
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)
    torch.set_num_threads(threads)


def test_threads_are_as_many_as_this_process_may_use_processors(one_processor, tiny, tmp_path):
    assert processors() == ExtractionSettings().processor_threads == FinetuningSettings().processor_threads == 1
    pretrain(
        {"D": 1, "A": 2, "H": 16, "I": 16},
        tmp_path / "out",
        teacher=tiny.teacher,
        corpus=[tiny.corpus],
        settings=PretrainingSettings(steps=1, batch=2, length=16, kl=0.0, cosine=1.0),
    )
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("value", BAD_TIMES)
def test_no_time(value):
    with pytest.raises(InputError, match="positive number of seconds"):
        keep_time(float(value))


@pytest.mark.parametrize("value", BAD_AMOUNTS)
def test_no_amount(value):
    with pytest.raises(InputError, match=r"give 1GB or more|write it as 4GB"):
        keep_memory(value)


def test_bad_limits_of_a_command_are_one_line():
    for option, value in (("--max-time", "0"), ("--max-memory", "much")):
        done = fsp("extract", "minilm", option, value)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr


def test_a_search_that_is_out_of_time_goes_on_where_it_was(tiny, tmp_path):
    study = tmp_path / "s.journal"
    command = ["extract", tiny.space_file, *tiny.arguments(), "--interval", 1, "--limit", "operations=100%", "--steps",
               16, "--json"]  # fmt: skip
    whole = fsp(*command)
    assert whole.returncode == 0, whole.stderr
    stops = 0
    while (done := fsp(*command, "--study", study, "--max-time", 0.25 * 2**stops)).returncode:
        assert done.returncode == 143, done.stderr
        assert done.stderr.rstrip().endswith("terminated; the same command goes on where it was")
        stops += 1
    found, expected = (
        {**facts, "evaluations": [{**row, "seconds": 0} for row in facts["evaluations"]]}
        for facts in (json.loads(done.stdout), json.loads(whole.stdout))
    )
    assert stops > 0
    assert found == expected


def _asks(kind, limit, answer):
    keep_memory(limit)
    try:
        if kind == "numpy":
            np.ones(3 * 10**8)
        else:
            torch.ones(6 * 10**8)
    except (MemoryError, RuntimeError) as problem:
        answer.put(is_out_of_memory(problem))
    else:
        answer.put(None)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("limit", "refused"), [("2GB", True), ("6 gb", None)])
def test_what_asks_for_more_memory_fails_as_memory(kind, limit, refused):
    answer = SERVER.Queue()
    process = SERVER.Process(target=_asks, args=(kind, limit, answer))
    process.start()
    assert answer.get(timeout=HANG) is refused
    process.join()


def resident() -> int:
    """Bytes of this process that lie in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _evaluations(teacher, corpus, space_file, count, answer):
    space, error = prepare(space_file, teacher=str(teacher), corpus=[corpus], steps=1, threads=1)
    shapes, seen = space.architectures(space.candidates), []
    for k in range(count):
        error(shapes[k % len(shapes)], seed=k)
        if (k + 1) % (count // 10) == 0:
            seen.append(resident())
    answer.put(seen)


def _steps(teacher, corpus, space_file, count, answer):
    _, error = prepare(space_file, teacher=str(teacher), corpus=[corpus], threads=1)
    student, seen = error.student({"D": 1, "A": 2, "H": 16, "I": 16}), []

    def watch(step, loss):
        if step % (count // 10) == 0:
            seen.append(resident())

    error.train(student, steps=count, seed=0, after_step=watch)
    answer.put(seen)


def _searches(teacher, corpus, space_file, count, answer):
    space = SearchSpace("wide", {"D": tuple(range(1, 41)), "H": tuple(range(1, 51))}, (), {"D": 40, "H": 50}, "mlp",
                        {"inputs": 3, "outputs": 2})  # fmt: skip
    seen = []

    def error(architecture):
        seen.append(resident())
        return 1 / (architecture["D"] * architecture["H"])

    extract(space, error=error, interval=1, limits={"operations": "60%"}, study=f"{corpus}.journal")
    answer.put(seen[:: len(seen) // 10])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "count"), [(_evaluations, 1000), (_steps, 10_000), (_searches, 0)], ids=["evaluations", "steps", "study"]
)
def test_memory_is_flat(work, count, tiny, tmp_path):
    answer, started = SERVER.Queue(), time.monotonic()
    corpus = tmp_path / "text.txt"
    corpus.write_text((tiny.corpus / "docs.txt").read_text())
    process = SERVER.Process(target=work, args=(tiny.teacher, corpus, tiny.space_file, count, answer))
    process.start()
    seen = answer.get(timeout=HANG)
    process.join()
    print(os.linesep, work.__name__, [round(value / 1e6, 1) for value in seen], f"{time.monotonic() - started:.0f} s")
    assert len(seen) >= 10
    assert max(seen[2:]) - seen[1] < 20e6  # after two tenths all caches are warm
