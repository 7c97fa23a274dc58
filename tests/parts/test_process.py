"""Background processes: outlive their starter, are known for sure, and end with all that they started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from milepost.parts.errors import PartError
from milepost.parts.process import LARGEST_LOG, Background

PYTHON = sys.executable


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Background]:
    """A process to be, ended with the test."""
    background = Background("the part", tmp_path / "run" / "part.pid", tmp_path / "log" / "part.log")
    yield background
    background.kill()


def _run(process: Background, code: str) -> int:
    return process.start([PYTHON, "-c", textwrap.dedent(code)], os.environ)


def _until(happened: object, timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_it_outlives_its_starter_and_is_known_by_its_file(process: Background, tmp_path: Path) -> None:
    starter = f"""
        import os
        from pathlib import Path
        from milepost.parts.process import Background
        process = Background("the part", Path({str(process.pid_file)!r}), Path({str(process.log_file)!r}))
        print(process.start(["sleep", "60"], os.environ))
    """
    said = subprocess.run(
        [PYTHON, "-c", textwrap.dedent(starter)], capture_output=True, text=True, check=True
    )
    assert process.pid == int(said.stdout)
    assert os.getsid(process.pid) == process.pid, "no terminal's signal reaches it"
    with pytest.raises(PartError, match=rf"the part runs already \(process {process.pid}\); stop it first"):
        _run(process, "pass")
    process.stop()
    assert not process.is_alive()
    process.stop()


def test_another_process_of_the_same_number_is_not_it(process: Background) -> None:
    assert not process.is_alive()
    process.pid_file.parent.mkdir()
    other = subprocess.Popen(["sleep", "60"])
    try:
        for record in (
            json.dumps({"pid": other.pid, "started": "long ago"}),
            str(other.pid),
            "",
            "{}",
            "[1]",
        ):
            process.pid_file.write_text(record)
            assert process.pid is None
            process.stop()
            process.kill()
            assert other.poll() is None, "nothing is done to it"
    finally:
        other.kill()
        other.wait()


def test_one_that_ended_is_not_alive_even_as_a_zombie(process: Background) -> None:
    _run(process, "pass")
    _until(lambda: not process.is_alive())
    with pytest.raises(PartError, match="the part ended while it started"):
        process.wait_ready(lambda: False)


def test_it_is_asked_first_and_killed_when_it_does_not_listen(process: Background) -> None:
    _run(
        process,
        "import signal, sys, time; signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit()))\n"
        "print('up', flush=True); time.sleep(60)",
    )
    _until(lambda: "up" in process.log_tail())
    process.stop()
    assert process.log_tail().endswith("bye")
    _run(
        process,
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
    )
    _until(lambda: "deaf" in process.log_tail())
    began = time.monotonic()
    process.stop(timeout=0.3)
    assert not process.is_alive()
    assert time.monotonic() - began < 10


def test_what_it_started_ends_with_it(process: Background) -> None:
    _run(
        process,
        "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)",
    )
    _until(lambda: process.log_tail().isdigit())
    child = int(process.log_tail())
    process.stop()
    _until(lambda: not _is_running(child))


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def test_its_last_words_are_told(process: Background) -> None:
    _run(process, "print('starting'); raise SystemExit('no config: set one')")
    with pytest.raises(
        PartError, match=r"(?s)ended while it started; .*part\.log ends with:.*no config: set one"
    ):
        process.wait_ready(lambda: False)
    _run(process, "import time; time.sleep(60)")
    with pytest.raises(PartError, match=r"did not answer within 0 s"):
        process.wait_ready(lambda: False, timeout=0.1)
    process.wait_ready(lambda: True)


def test_a_program_that_is_not_there_is_named(process: Background) -> None:
    with pytest.raises(PartError, match=r"the part: no-such-program can't be started: .*is it installed"):
        process.start(["no-such-program"], os.environ)
    assert process.pid is None


def test_a_long_log_is_put_aside_and_its_end_is_read(process: Background) -> None:
    process.log_file.parent.mkdir()
    process.log_file.write_bytes(b"x" * LARGEST_LOG + b"\n\xff\xfe last\n")
    assert process.log_tail(1) == "�� last"
    _run(process, "print('new')")
    _until(lambda: "new" in process.log_tail())
    assert process.log_file.stat().st_size < 100
    assert process.log_file.with_name("part.log.1").stat().st_size > LARGEST_LOG
    assert process.log_file.stat().st_mode & 0o777 == 0o600


def test_only_the_given_environment_and_no_open_file_reach_it(process: Background) -> None:
    process.start(
        [
            PYTHON,
            "-c",
            "import os; print(os.environ.get('HOME'), os.environ['ONLY'], sorted(os.listdir('/proc/self/fd')))",
        ],
        {"ONLY": "this"},
    )
    _until(process.log_tail)
    assert process.log_tail() == "None this ['0', '1', '2', '3']", "3 is the listing's own"
