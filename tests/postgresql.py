"""A private PostgreSQL for tests: its own data folder and user, on loopback, without what a disk's fault would need."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

#: Where Debian puts the server's programs.
_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
_USER = "postgres"

needs_postgresql = [
    pytest.mark.system,
    pytest.mark.skipif(not _PROGRAMS, reason="no PostgreSQL server: apt-get install postgresql"),
]


class Cluster:
    """A server that a test may kill and start again; it goes with the process that started it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password = secrets.token_hex(8)
        self.port = _free_port()
        # The server refuses to run as root.
        self._as_user = ["setpriv", "--pdeathsig=QUIT"]
        if os.geteuid() == 0:
            account = pwd.getpwnam(_USER)
            os.chown(folder, account.pw_uid, account.pw_gid)
            self._as_user[1:1] = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        (folder / "password").write_text(self.password)
        (folder / "password").chmod(0o644)
        self._initialise()
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://milepost:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Create an empty database and give its URL."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def _initialise(self) -> None:
        words = [
            "initdb", "-D", str(self.data), "-U", "milepost", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C",
            f"--pwfile={self.folder / 'password'}", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        words[0] = str(_PROGRAMS[-1] / words[0])
        done = subprocess.run(
            [*self._as_user, *words], capture_output=True, text=True, check=False, cwd=self.folder
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off",
            "max_wal_size": "2GB",
        }  # fmt: skip
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        words = [*self._as_user, str(_PROGRAMS[-1] / "postgres"), "-D", str(self.data), *given]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server as by the power switch, and its processes with it."""
        pid = self._process.pid
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for process in (pid, *children):
            os.kill(process, signal.SIGKILL)
        self._process.wait()
        while any(Path(f"/proc/{process}").exists() for process in children):
            time.sleep(0.01)
        (self.data / "postmaster.pid").unlink()

    def stop(self) -> None:
        """Stop the server at once."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a server meanwhile, in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="milepost-postgresql-"))
    folder.chmod(0o755)
    try:
        started = Cluster(folder)
        try:
            yield started
        finally:
            started.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
