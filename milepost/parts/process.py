"""Background processes that outlive their starter, known by a file that a reused process number can't fool."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from milepost.parts.errors import PartError

#: A log that is larger when its process starts is put aside as `NAME.1`, replacing the one before.
LARGEST_LOG = 16 * 1024 * 1024
_TAIL_BYTES = 64 * 1024
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Background:
    """A process that runs, ran or will run in the background.

    `name` is for messages; `pid_file` says which process it is, `log_file` has what it writes.
    """

    name: str
    pid_file: Path
    log_file: Path

    def start(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> int:
        """Start the command in a session of its own, and give its process number.

        Args:
            command: the program, found on the PATH, and its arguments.
            environment: all of the process's environment.

        Raises:
            PartError: it runs already, or the program can't be started.
        """
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Of two that start it at the same time, the second finds it running.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            running = self.pid
            if running is not None:
                raise PartError(f"{self.name} runs already (process {running}); stop it first")
            pid = _spawn(self.name, [os.fspath(part) for part in command], environment, self.log_file)
            record = json.dumps({"pid": pid, "started": _start_mark(pid)}).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, record, 0)
        finally:
            os.close(descriptor)
        return pid

    @property
    def pid(self) -> int | None:
        """The number of the running process; None when it does not run."""
        try:
            record = json.loads(self.pid_file.read_bytes())
            pid, started = int(record["pid"]), record["started"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return pid if started is not None and _start_mark(pid) == started else None

    def is_alive(self) -> bool:
        """Say whether it runs."""
        return self.pid is not None

    def stop(self, timeout: float = 30.0) -> None:
        """End it and everything that it started: asked first, killed after `timeout` seconds. Gone is fine."""
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            if not _wait_for(lambda: not self.is_alive(), timeout):
                _kill_group(pid)
                _wait_for(lambda: not self.is_alive(), timeout)
            # What it started and left behind.
            _kill_group(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def kill(self) -> None:
        """End it and everything that it started at once, as a crash would."""
        pid = self.pid
        if pid is not None:
            _kill_group(pid)
            _wait_for(lambda: not self.is_alive(), 30.0)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def wait_ready(self, is_ready: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait until `is_ready` says so.

        Raises:
            PartError: the process ended, or `timeout` seconds went by; with the end of its log.
        """
        end = time.monotonic() + timeout
        while True:
            if not self.is_alive():
                raise PartError(f"{self.name} ended while it started; {self._last_words()}")
            if is_ready():
                return
            if time.monotonic() > end:
                raise PartError(
                    f"{self.name} did not answer within {timeout:.0f} s; is the machine busy? {self._last_words()}"
                )
            time.sleep(_LOOK_SECONDS)

    def log_tail(self, lines: int = 20) -> str:
        """Give the last lines of its log."""
        try:
            with self.log_file.open("rb") as opened:
                opened.seek(max(0, opened.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = opened.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _last_words(self) -> str:
        return f"{self.log_file} ends with:\n{self.log_tail() or '(nothing)'}"


def _spawn(name: str, command: list[str], environment: Mapping[str, str], log_file: Path) -> int:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if log_file.stat().st_size > LARGEST_LOG:
            log_file.replace(log_file.with_name(f"{log_file.name}.1"))
    try:
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            started = subprocess.Popen(  # noqa: S603 - our own command
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        raise PartError(
            f"{name}: {command[0]} can't be started: {error.strerror}; is it installed, and {log_file} writable?"
        ) from error
    # It is not ours to wait for: it outlives us.
    started.returncode = 0
    return started.pid


def _start_mark(pid: int) -> str | None:
    """Give what no other process of that number has: when it started. None for one that has ended."""
    try:
        # After the name, which may hold anything: state, parent, …, and 19 fields on the start in ticks.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None if Path("/proc/self").exists() else _start_by_ps(pid)
    return None if fields[0] in (b"Z", b"X") else f"{boot}:{fields[19].decode()}"


def _start_by_ps(pid: int) -> str | None:
    said = subprocess.run(  # noqa: S603 - a number
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - where there is no /proc
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split(maxsplit=1)
    return None if len(said) < 2 or said[0].startswith("Z") else said[1].strip()


def _kill_group(pid: int) -> None:
    # Its number is that of its group too, for it leads a session of its own.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _wait_for(happened: Callable[[], bool], timeout: float) -> bool:
    end = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
