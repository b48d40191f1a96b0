import json
import signal
import time

import pytest
from running import HANG

from fsp.base.errors import InputError
from fsp.search.extraction import extract
from fsp.spaces.loading import load_space
from fsp.studies.helper import work
from fsp.studies.store import open_store
from fsp.studies.study import Study, stored_studies

from .conftest import until

SPACE = load_space("minilm")


def toy(architecture, seed):
    return 1 / (architecture["D"] * architecture["H"])


def once(counts):
    return set(counts.values()) == {1}


@pytest.mark.parametrize(
    ("where", "method"),
    [
        ("journal", "interval"),
        ("journal", "certified"),
        ("sqlite", "interval"),
        ("postgresql", "interval"),
        pytest.param("sqlite", "certified", marks=pytest.mark.slow),
        pytest.param("postgresql", "certified", marks=pytest.mark.slow),
    ],
    indirect=["where"],
)
def test_searches_and_workers_started_at_once_train_nothing_twice(where, searches, method):
    alone = searches.result(searches.start("search", searches.folder / "alone.journal", seconds=0, method=method))
    searches.log.unlink()
    workers = [searches.start("worker", where, method=method) for _ in range(2)]
    both = [searches.start("search", where, method=method) for _ in range(2)]
    results = [searches.result(one) for one in both]
    for one in workers:
        one.send_signal(signal.SIGTERM)
        one.wait(HANG)
    assert results == [alone, alone]
    assert once(searches.noted("begin"))
    assert searches.noted("begin") == searches.noted("end")
    assert len(searches.processes()) > 1
    (stored,) = stored_studies(where)
    assert len(stored.evaluations) == sum(searches.noted("end").values())


def test_what_killed_workers_had_begun_is_evaluated_by_others(where, searches):
    alone = searches.result(searches.start("search", searches.folder / "alone.journal", seconds=0))
    searches.log.unlink()
    victims = [searches.start("worker", where, seconds=searches.folder / "never") for _ in range(2)]
    search = searches.start("search", where, seconds=searches.folder / "go")
    until(lambda: len(searches.processes()) == 3)  # both workers have begun what they will not finish
    for victim in victims:
        victim.kill()
        victim.wait()
    (searches.folder / "go").touch()
    assert searches.result(search) == alone
    begun, ended = searches.noted("begin"), searches.noted("end")
    assert once(ended)
    assert sum(begun.values()) == sum(ended.values()) + 2


@pytest.mark.parametrize(
    "where",
    ["journal", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("sqlite", "postgresql"))],
    indirect=True,
)
def test_a_killed_search_goes_on_where_it_was(where, searches):
    alone = searches.result(searches.start("search", searches.folder / "alone.journal", seconds=0))
    searches.log.unlink()
    kills = 0
    while kills < 3:
        before = sum(searches.noted("end").values())
        search = searches.start("search", where, seconds=0.05)
        until(lambda: sum(searches.noted("end").values()) > before)  # noqa: B023
        search.kill()
        search.wait()
        kills += 1
    assert searches.result(searches.start("search", where, seconds=0)) == alone
    assert max(searches.noted("begin").values()) <= 1 + kills
    (stored,) = stored_studies(where)
    assert len(stored.evaluations) == len(searches.noted("end"))


def test_what_nobody_alive_asked_for_is_left_alone(tmp_path):
    where = tmp_path / "s.journal"
    shapes = SPACE.architectures(SPACE.candidates[:3])
    study = Study(where, SPACE, {"error": "toy"})
    study.ask([(shapes[0], 0), (shapes[1], 0)])
    helper = Study(where, SPACE, {"error": "toy"})
    assert helper.wanted() == [(shapes[0], 0), (shapes[1], 0)]
    del study  # the search ended
    assert helper.wanted() == []
    again = Study(where, SPACE, {"error": "toy"})
    again.ask([(shapes[1], 0)])
    assert helper.wanted() == [(shapes[1], 0)]
    assert len(open_store(where).storage.get_all_trials(0)) == 2


def test_a_worker_refuses_other_settings_and_says_which(tmp_path):
    where = tmp_path / "s.journal"

    def of(steps):
        def error(architecture, seed):
            return toy(architecture, seed)

        error.settings = {"error": "toy", "steps": steps}
        return error

    from fsp.studies.evaluator import Evaluator

    asking = Evaluator(of(16), SPACE, where)
    asking.expect([(SPACE.architectures(SPACE.candidates[:1])[0], 0)])
    with pytest.raises(InputError, match="steps 16 there, 8 here"):
        work(where, SPACE, of(8), idle=0)
    assert work(where, SPACE, of(16), idle=0) == 1


def test_a_worker_evaluates_fidelities_and_finalists_too(searches, tmp_path):
    """A search whose first evaluation ends when a worker thread has done another."""
    import threading

    class Trained:
        def __init__(self, steps, by, helped, worker=None):
            self.steps, self.by, self.helped, self.worker = steps, by, helped, worker

        @property
        def settings(self):
            return {"error": "trained", "steps": self.steps}

        def with_steps(self, steps):
            return Trained(steps, self.by, self.helped, self.worker)

        def longer(self, factor):
            return Trained(factor * self.steps, self.by, self.helped, self.worker)

        def __call__(self, architecture, seed):
            name = threading.current_thread().name
            self.by.append((name, self.steps))
            if self.worker is not None and self.worker.ident is None and name != "worker":
                self.worker.start()  # once the search has asked for its evaluations, so that it is not idle
            if name == "worker":
                self.helped.set()
            self.helped.wait(HANG)
            return toy(architecture, seed) * (1 + 1 / (1 + self.steps))

    for options in ({"fidelities": [0, 4, 16]}, {"finalists": 3}):
        by: list[tuple[str, int]] = []
        helped = threading.Event()
        where = tmp_path / f"{next(iter(options))}.journal"
        error = Trained(4, by, helped)
        worker = threading.Thread(target=work, args=(where, SPACE, error), kwargs={"idle": 5}, name="worker")
        error.worker = worker
        found = extract(SPACE, error=error, study=where, interval=8, **options)
        worker.join()
        alone = extract(SPACE, error=Trained(4, [], helped), interval=8, **options)
        assert found.selected == alone.selected
        assert found.table.drop(columns="seconds").equals(alone.table.drop(columns="seconds"))
        assert len(by) == sum(len(stored.evaluations) for stored in stored_studies(where))
        assert {steps for name, steps in by if name == "worker"} >= ({0} if "fidelities" in options else {4})


def test_a_clock_set_back_changes_nothing(tmp_path, monkeypatch):
    expected = extract(SPACE, error=toy, interval=6)
    clock = [2e9]

    def backwards():
        clock[0] -= 3600
        return clock[0]

    monkeypatch.setattr(time, "time", backwards)
    for _ in range(2):
        found = extract(SPACE, error=toy, interval=6, study=tmp_path / "s.journal")
        assert found.selected == expected.selected
        assert found.table.drop(columns="seconds").equals(expected.table.drop(columns="seconds"))
    (stored,) = stored_studies(tmp_path / "s.journal")
    assert len(stored.evaluations) == len(expected.table)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://root@localhost/x", "no study at"),
        ("sqlite://", "no study at"),
        ("sqlite:///:memory:", "no study at"),
        ("nonsense://", "no study at"),
        ("://", "no database URL"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot open the study postgresql://nobody:\\*\\*\\*@"),
        ("sqlite:////proc/none/x.db", "cannot open the study"),
    ],
)
def test_urls_that_name_no_store(url, says):
    with pytest.raises(InputError, match=says):
        open_store(url)


def test_a_finished_study_in_a_database_is_asked_again(where):
    from fsp.search.choice import choose

    found = extract(SPACE, error=toy, interval=20, study=where)
    answer = choose(where, SPACE)
    assert answer.selected == found.selected
    assert len(answer.table) == len(found.table)


def test_asking_about_a_database_that_is_not_there_creates_none(tmp_path):
    with pytest.raises(InputError, match="no study at"):
        stored_studies(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_json_lines_of_a_shared_journal_are_whole(searches, tmp_path):
    where = tmp_path / "s.journal"
    running = [searches.start("search", where, seconds=0) for _ in range(4)]
    assert len({searches.result(one) for one in running}) == 1
    for line in where.read_text().splitlines():
        json.loads(line)
