"""`fsp extract --workers` and `fsp worker` as a user calls them, with a tiny T."""

import json
import signal
import subprocess
import sys

import pytest
from running import HANG

from fsp.base.errors import InputError
from fsp.base.machine import processors
from fsp.studies.pool import check_cores
from fsp.studies.store import open_store
from fsp.studies.study import Study, headers, stored_studies

from .conftest import until

SEARCH = ["--interval", "1", "--limit", "encoder_parameters=60%", "--steps", "1"]
two_processors = pytest.mark.skipif(processors() < 2, reason="needs two processors")


def fsp(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "fsp", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ended(process, code=0):
    stdout, stderr = process.communicate(timeout=HANG)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    return stdout if code == 0 else stderr


def timeless(stdout):
    answer = json.loads(stdout)
    return {
        **answer,
        "evaluations": [{k: v for k, v in row.items() if k != "seconds"} for row in answer["evaluations"]],
    }


def given(tiny):
    """What a worker is told, without the threads, which the study tells it."""
    return [tiny.space_file, "--teacher", tiny.teacher, "--corpus", tiny.corpus]


@pytest.fixture(scope="module")
def alone(tiny):
    return timeless(ended(fsp("extract", tiny.space_file, *tiny.arguments(), *SEARCH, "--json")))


@two_processors
def test_workers_on_one_machine_give_what_one_process_gives(tiny, alone):
    command = ["extract", tiny.space_file, *tiny.arguments(), *SEARCH, "--workers", 2, "--json"]
    assert timeless(ended(fsp(*command))) == alone


@pytest.mark.slow
@pytest.mark.parametrize("where", ["journal", "sqlite", "postgresql"], indirect=True)
def test_a_worker_elsewhere_started_before_the_search(tiny, alone, where):
    worker = fsp("worker", *given(tiny), "--study", where)
    search = fsp("extract", tiny.space_file, *tiny.arguments(), *SEARCH, "--study", where, "--json")
    assert timeless(ended(search)) == alone
    (stored,) = stored_studies(where)
    asking = Study(where, tiny.space.with_constants(stored.space["constants"]), stored.settings)
    key = stored.evaluations[0].architecture, 1
    asking.ask([key])  # and evaluate nothing
    until(lambda: asking.refresh() or asking.get(*key))
    assert 0 < asking.get(*key).error < 1
    worker.send_signal(signal.SIGTERM)
    assert "terminated" in ended(worker, 143)


@pytest.mark.slow
def test_a_worker_refuses_another_text(tiny, tmp_path):
    where = tmp_path / "s.journal"
    ended(fsp("extract", tiny.space_file, *tiny.arguments(), *SEARCH, "--study", where))
    (header,) = headers(open_store(where))
    asking = Study(where, tiny.space.with_constants(header.space["constants"]), header.settings)
    (stored,) = stored_studies(where)
    asking.ask([(stored.evaluations[0].architecture, 5)])
    other = tmp_path / "other.txt"
    other.write_text((tiny.corpus / "docs.txt").read_text()[50_000:])
    told = [tiny.space_file, "--teacher", tiny.teacher, "--corpus", other]
    stderr = ended(fsp("worker", *told, "--study", where), 2)
    assert "data " in stderr and "validation " in stderr  # what differs is named
    assert "started with other settings" in stderr
    assert ended(fsp("worker", *given(tiny), "--study", where, "--idle", 0, "--json")) == '{"evaluations": 1}\n'
    assert asking.get(stored.evaluations[0].architecture, 5) is None
    asking.refresh()
    assert asking.get(stored.evaluations[0].architecture, 5).error > 0


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers(workers):
    with pytest.raises(InputError, match="at least 1"):
        check_cores(workers, 1)


def test_workers_that_do_not_fit_are_refused():
    cores = processors()
    check_cores(1, cores + 1)  # one process may share its processors, as before
    check_cores(cores, 1)
    with pytest.raises(InputError, match=f"{cores + 1} workers of 1 threads need {cores + 1} processors"):
        check_cores(cores + 1, 1)


@pytest.mark.slow
@two_processors
def test_the_workers_of_a_killed_search_leave(tiny, tmp_path):
    where = tmp_path / "s.journal"
    search = fsp("extract", tiny.space_file, *tiny.arguments(), *SEARCH, "--study", where, "--workers", 2)

    def workers():
        found = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
        return [line for line in found.splitlines() if "fsp worker" in line and str(where) in line]

    until(workers)
    search.kill()
    search.wait()
    until(lambda: not workers())
    ended(fsp("extract", tiny.space_file, *tiny.arguments(), *SEARCH, "--study", where))
