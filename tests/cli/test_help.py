"""Help that teaches: every command says what it does, explains each option, and gives an example."""

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from milepost.cli import app
from milepost.cli.exit_codes import MEANINGS, ExitCode


def commands(command=None, words=()):
    command = command or get_command(app)
    if not hasattr(command, "commands"):
        return [(words, command)]
    return [entry for name, part in command.commands.items() for entry in commands(part, (*words, name))]


@pytest.mark.parametrize(("words", "command"), commands(), ids=[" ".join(words) for words, _ in commands()])
def test_every_command_teaches(words, command):
    result = CliRunner().invoke(app, [*words, "--help"], terminal_width=120)
    assert result.exit_code == 0
    assert command.help
    assert command.epilog.startswith("Example")
    assert "milepost " + " ".join(words) in command.epilog
    for option in command.params:
        assert option.help, f"{option.name} of {' '.join(words)} has no help"


def test_every_exit_code_has_a_meaning_that_help_shows():
    assert set(MEANINGS) == set(ExitCode)
    text = CliRunner().invoke(app, ["--help"], terminal_width=200).output
    for code, meaning in MEANINGS.items():
        assert f"{int(code)} {meaning.split(';')[0].split('.')[0]}" in " ".join(text.split())


def test_help_is_there_at_once():
    """What takes long to import is imported on use: help does not wait for Beam, DuckDB or Great Expectations."""
    code = (
        "import sys; from milepost.cli import app; "
        "print([m for m in ('apache_beam', 'great_expectations', 'numba') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_version_is_told():
    from milepost import __version__

    assert CliRunner().invoke(app, ["--version"]).stdout == f"milepost {__version__}\n"
