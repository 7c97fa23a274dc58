"""A command that cannot go on says what is wrong and what helps, with an exit code, and shows no traceback."""

import errno
import importlib
import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console

from milepost.cli import errors
from milepost.cli.errors import EXPECTED, CommandError, explain
from milepost.cli.exit_codes import ExitCode


@pytest.mark.parametrize("name", EXPECTED)
def test_every_expected_error_is_there(name):
    module, _, kind = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), kind), Exception)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (CommandError("no such thing", "look elsewhere", ExitCode.USAGE), 2, "Remedy: look elsewhere."),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "no room left: /data/x"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 1, "not allowed: /data/x"),
        (
            ModuleNotFoundError("No module named 'kafka'", name="kafka.admin"),
            1,
            "pip install 'milepost[kafka]'",
        ),
        (KeyError("x"), 1, "unexpected KeyError"),
    ],
)
def test_an_error_is_explained(error, code, words, monkeypatch):
    printed = StringIO()
    monkeypatch.setattr(errors, "err", Console(file=printed, width=110))
    assert explain(error) == code
    printed = printed.getvalue()
    assert words in printed
    assert "Traceback" not in printed


def test_what_a_step_of_beam_wraps_is_found():
    wrapped = RuntimeError("while running 'Map'")
    wrapped.__cause__ = CommandError("withheld", code=ExitCode.WITHHELD)
    assert explain(wrapped) == ExitCode.WITHHELD


def milepost(*arguments, **more):
    command = [sys.executable, "-m", "milepost", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **more)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["journey", "cookie:a", "--home", "nowhere"], 1, "no published warehouse"),
        (["init", "."], 2, "is not empty"),
        (["restore", "nothing.tar.gz", "--home", "home"], 1, "There is no backup"),
        (["backup", "here.zip", "--home", "home"], 1, "a backup's name ends with"),
        (["fly"], 2, "No such command"),
    ],
)
def test_a_users_mistake_ends_with_a_message(arguments, code, words, tmp_path):
    (tmp_path / "something").touch()
    result = milepost(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_home_goes_into_an_archive_and_back(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "hashing.key").write_text("ab" * 32 + "\n")
    assert milepost("backup", "kept.tar.zst", "--home", str(home), cwd=tmp_path).returncode == 0
    restored = milepost("restore", "kept.tar.zst", "--home", "other", cwd=tmp_path)
    assert restored.returncode == 0, restored.stderr
    assert (tmp_path / "other" / "hashing.key").read_text() == (home / "hashing.key").read_text()
