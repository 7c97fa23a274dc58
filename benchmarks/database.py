"""A private PostgreSQL for measurements: its own folder and user, on loopback, as careful as in production."""

from __future__ import annotations

import os
import pwd
import secrets
import subprocess
import time
from pathlib import Path

import psycopg

from milepost.parts.ports import LOOPBACK, free_port

#: Where Debian puts the server's programs.
PROGRAMS = Path("/usr/lib/postgresql")
_ACCOUNT = "postgres"
#: What a server of this size would be given. `fsync`, `full_page_writes` and `synchronous_commit` are left on.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "2GB",
    "effective_cache_size": "8GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
}
_PATIENCE = 120.0


class DatabaseMissingError(RuntimeError):
    """There is no PostgreSQL server on this machine, or it does not start."""


class Database:
    """A server whose data lie below `folder`, and stay there when it stops; it ends with who started it."""

    def __init__(self, folder: Path) -> None:
        """Make the data folder where there is none; nothing runs yet.

        Raises `DatabaseMissingError` without the server's programs.
        """
        found = sorted(PROGRAMS.glob("*/bin/postgres"))
        if not found:
            raise DatabaseMissingError("no PostgreSQL server: apt-get install postgresql")
        self._programs = found[-1].parent
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._as_user = ["setpriv", "--pdeathsig=INT"]
        if os.geteuid() == 0:
            # The server refuses to run as root, and its user must get to its folder.
            account = pwd.getpwnam(_ACCOUNT)
            os.chown(folder, account.pw_uid, account.pw_gid)
            self._as_user[1:1] = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        if not (folder / "data").exists():
            self._initialise()

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(secrets.token_hex(8), encoding="ascii")
        password.chmod(0o644)
        command = [
            *self._as_user,
            str(self._programs / "initdb"),
            *("-D", str(self.folder / "data"), "-U", "milepost", "--auth=scram-sha-256", "-E", "UTF8"),
            *("--locale=C", f"--pwfile={password}", "--no-instructions"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode:
            raise DatabaseMissingError(done.stderr + done.stdout)

    @property
    def url(self) -> str:
        """The URL of its one database."""
        password = (self.folder / "password").read_text(encoding="ascii")
        return f"postgresql://milepost:{password}@{LOOPBACK}:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The server's process, whose children do its work."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.port = free_port()
        given = [
            word
            for name, value in (*SETTINGS.items(), ("port", self.port))
            for word in ("-c", f"{name}={value}")
        ]
        command = [*self._as_user, str(self._programs / "postgres"), "-D", str(self.folder / "data"), *given]
        log = self.folder / "log"
        with log.open("ab") as opened:
            self._process = subprocess.Popen(command, stdout=opened, stderr=opened, cwd=self.folder)
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise DatabaseMissingError(log.read_text()[-2000:]) from error
                time.sleep(0.1)

    def checkpoint(self) -> None:
        """Bring everything to the disk: what is measured next pays for full pages, and for nothing of before."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def stop(self) -> None:
        """Stop it in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                # Its clients had their time.
                self._process.send_signal(2)
                self._process.wait(_PATIENCE)
