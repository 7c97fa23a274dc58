"""A publication that the audit withholds, through the whole command line: the old one stays, a mended run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from milepost.cli import app
from milepost.cli.exit_codes import ExitCode
from tests.cli.test_run import answer, code_of, milepost

#: Each is plausible, and the sum of so many is more than 64 bits of millionths hold.
ORDER, ORDERS = "100000000000.00", 100


def test_a_withheld_publication_says_why_and_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "shop"
    assert CliRunner().invoke(app, ["init", str(project)]).exit_code == 0
    assert milepost(tmp_path, "run").exit_code == 0
    before = answer(tmp_path, "status")

    [there] = (project / "data").glob("*.csv")
    header = there.read_text().splitlines()[0]
    orders = [f"big-{number},2026-05-01 10:00:00,order,v-big,,{ORDER},,," for number in range(ORDERS)]
    (project / "data" / "big.csv").write_text("\n".join([header, *orders]) + "\n")
    capsys.readouterr()
    assert code_of(monkeypatch, capsys, tmp_path, "run") == ExitCode.WITHHELD
    said = capsys.readouterr().err
    assert "money: No amount is negative. (2 rows, such as " in said
    [report] = [word for word in said.split() if word.endswith(".html")]
    assert "No amount is negative." in Path(report).read_text()
    assert "milepost retract" in said
    after = answer(tmp_path, "status")
    assert after["publication"] == before["publication"]
    assert after["customers"] == before["customers"]

    mapping = project / "mappings" / "shop.sql"
    mapping.write_text(
        mapping.read_text().rstrip().rstrip(";") + f"\nWHERE value IS DISTINCT FROM '{ORDER}'\n"
    )
    mended = answer(tmp_path, "run")
    assert mended["run"]["fates"]["shop"]["records"]["filtered"] == ORDERS
    assert answer(tmp_path, "status")["customers"] == before["customers"]
