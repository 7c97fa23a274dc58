"""A skip is an error in continuous integration, and a printed line elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"
SKIPPING = "import pytest\ndef test_it(): pytest.skip('no server here')\ndef test_other(): pass\n"


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_skip_is_an_error_where_ci_is_set(tmp_path, ci, code, workers):
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *workers],
        cwd=tmp_path,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == code, result.stdout
    assert "no server here" in result.stdout
    assert ("skipped test is an error" in result.stdout) == bool(code)
