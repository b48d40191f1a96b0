import os
import subprocess
import sys
import threading

import pytest

from fsp.studies.locks import Claims, file_claims
from fsp.studies.store import open_store

HOLD = """
import sys
from fsp.studies.store import open_store
store = open_store(sys.argv[1])
print(all([store.claims.take(name) for name in sys.argv[2:]]), flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that takes claims and keeps them until it is killed."""

    def __init__(self, where, *names):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, where, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.got = self.process.stdout.readline().strip()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.kill()


def test_a_claim_has_one_holder_and_ends_with_it(where):
    mine = open_store(where).claims
    with Holder(where, "a", "b") as first:
        assert first.got == "True"
        assert not mine.take("a")
        assert mine.held("b")
        assert mine.take("c")
        with Holder(where, "c") as second:
            assert second.got == "False"
        first.kill()
        mine.wait("a")
        mine.wait("b")
        mine.release("c")
        with Holder(where, "a") as third, Holder(where, "c") as fourth:
            assert (third.got, fourth.got) == ("False", "True")
    for name in ("a", "b"):
        mine.release(name)


def test_a_stopped_process_keeps_its_claims(where):
    import signal

    mine = open_store(where).claims
    with Holder(where, "a") as holder:
        holder.process.send_signal(signal.SIGSTOP)
        assert not mine.take("a")
        holder.process.send_signal(signal.SIGCONT)
        assert not mine.take("a")


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_threads_of_a_process_exclude_one_another(kind, tmp_path):
    claims = Claims() if kind == "memory" else file_claims(tmp_path / "claims")
    inside, most, done = [0], [0], []

    def enter():
        for _ in range(30):
            with claims.holding("one"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
        done.append(True)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(done) == 4


def test_a_claim_is_not_lost_when_another_is_given_back(tmp_path):
    store = tmp_path / "study.journal"
    claims = open_store(store).claims
    assert claims.take("kept")
    open_store(store).claims.holding("other").__enter__()
    for name in ("x", "y"):
        with claims.holding(name):
            pass
    with Holder(str(store), "kept") as other:
        assert other.got == "False"
    claims.release("kept")


def test_a_folder_made_again_has_claims_of_its_own(tmp_path):
    import shutil

    where = tmp_path / "study" / "evaluations.journal"
    claims = open_store(where).claims
    with claims.holding("a"):
        pass
    shutil.rmtree(where.parent)
    where.parent.mkdir()
    assert claims.take("a")
    with Holder(str(where), "a") as other:
        assert other.got == "False"
    claims.release("a")


def test_a_forked_child_holds_nothing(tmp_path):
    path = tmp_path / "claims"
    assert file_claims(path).take("a")
    child = os.fork()
    if child == 0:
        os._exit(int(file_claims(path).take("a")))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file_claims(path).release("a")
