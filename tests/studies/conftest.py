"""Stores that several processes can share, and small searches that run in processes of their own."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import HANG

SEARCH = """
import json, os, sys, time
from fsp.search.extraction import extract
from fsp.search.certificates.settings import CertifiedSettings
from fsp.spaces.loading import load_space
from fsp.studies.helper import work

role, where, log, seconds, method = sys.argv[1:]

def note(word, architecture, seed):
    with open(log, "ab", buffering=0) as file:
        file.write(f"{word} {architecture} seed {seed} by {os.getpid()}\\n".encode())

def error(architecture, seed):
    note("begin", architecture, seed)
    if seconds.startswith("/"):
        while not os.path.exists(seconds):
            time.sleep(0.01)
    else:
        time.sleep(float(seconds))
    value = (1 / (architecture["D"] * architecture["H"]) + 1e-5 * architecture["I"]) * (1 + 1e-4 * (seed % 3))
    note("end", architecture, seed)
    return value

error.settings = {"error": "toy"}
space = load_space("minilm")
if role == "worker":
    print(work(where, space, error, idle=1800))
else:
    options = {"interval": 10} if method == "interval" else {"certified": CertifiedSettings(audit=2), "gap": 0.3}
    found = extract(space, error=error, method=method, study=where, **options)
    certificate = found.certificate and {k: v for k, v in found.certificate.items() if k != "fsp"}
    print(json.dumps([dict(found.selected), found.table.drop(columns="seconds").to_json(), certificate]))
"""


def until(condition):
    """Wait for a condition, and fail where it does not come."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < HANG, "waited in vain"
        time.sleep(0.02)


@dataclass(frozen=True)
class Searches:
    """Starts searches and workers of a toy error, and reads what they noted.

    `seconds`: of one evaluation, or the file that ends it.
    """

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self, role, where, *, seconds=0.05, method="interval") -> subprocess.Popen:
        script = self.folder / "search.py"
        if not script.exists():
            script.write_text(SEARCH)
        command = [sys.executable, str(script), role, str(where), str(self.log), str(seconds), method]
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": root}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder, env=environment
        )

    def result(self, process: subprocess.Popen) -> str:
        stdout, stderr = process.communicate(timeout=HANG)
        assert process.returncode == 0, stderr
        return stdout

    def noted(self, word: str) -> Counter:
        """How often each evaluation was begun, or ended."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(line.split(" by ")[0].removeprefix(word) for line in lines if line.startswith(word))

    def processes(self) -> set[str]:
        """Who has evaluated anything."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return {line.split(" by ")[1] for line in lines}


@pytest.fixture
def searches(tmp_path) -> Searches:
    return Searches(tmp_path)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a PostgreSQL server started for the tests, on a free port of the loopback interface."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(binaries[-1]) if binaries else shutil.which("initdb")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("needs a PostgreSQL server (Debian package postgresql)")
    pytest.importorskip("psycopg", reason="needs psycopg (pip install fsp[postgresql])")
    folder = Path(tempfile.mkdtemp(prefix="fsp-postgresql-"))
    options = {}
    if os.geteuid() == 0:  # a server refuses to run as root
        nobody = pwd.getpwnam("nobody")
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **options}
    initdb = [found, "-D", str(data), "-U", "fsp", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale"]
    subprocess.run(initdb, check=True, **quiet)
    port = _free_port()
    command = [str(Path(found).with_name("postgres")), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen([*command, "-k", str(folder), "-F"], **quiet)
    url = f"postgresql://fsp@127.0.0.1:{port}/"
    try:
        import psycopg

        def answers():
            assert server.poll() is None, "the PostgreSQL server ended"
            try:
                psycopg.connect(url + "postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        until(answers)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # end without waiting for the clients
        server.wait(HANG)
        shutil.rmtree(folder)


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def where(request, tmp_path) -> str:
    """A store that does not exist yet, of each kind."""
    if request.param == "journal":
        return str(tmp_path / "study" / "evaluations.journal")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study/evaluations.db"
    import psycopg

    url = request.getfixturevalue("postgresql")
    name = f"fsp_{uuid.uuid4().hex}"
    with psycopg.connect(url + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url + name
