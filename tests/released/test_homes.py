"""A home that a released version left is read by today's: the same figures, incrementally and rebuilt."""

from pathlib import Path

from typer.testing import CliRunner

from milepost.cli import app
from milepost.cli.warehouse import open_warehouse

HOMES = sorted(Path(__file__).parent.glob("home-*.tar.zst"))


def milepost(*words):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, (words, result.output, result.exception)


def figures(home):
    with open_warehouse(home) as warehouse:
        return {
            "journeys": warehouse.rows(
                "SELECT customer_id, status, current_stage, touches, booked_micros FROM journey.journeys ORDER BY ALL"
            ),
            "links": warehouse.rows("SELECT a, b, status FROM journey.identity_links ORDER BY ALL"),
            "credits": warehouse.rows(
                "SELECT model, sum(credit) AS c FROM journey.credits GROUP BY ALL ORDER BY ALL"
            ),
            "erasures": warehouse.rows("SELECT identifier, status FROM journey.erasures ORDER BY ALL"),
        }


def test_todays_milepost_goes_on_with_every_released_home(tmp_path):
    for archive in HOMES:
        goes_on(archive, tmp_path / archive.name)


def goes_on(archive, place):
    home, project = place / "home", place / "shop"
    milepost("restore", str(archive), "--home", str(home))
    before = figures(home)
    assert len(before["journeys"]) == 4
    milepost("init", str(project))
    for words in (["run"], ["run", "--rebuild"]):
        milepost(*words, "--home", str(home), "--project", str(project))
        assert figures(home) == before
    # A file that is new to it is stitched onto what it has.
    (project / "data" / "more.csv").write_text(
        "id,happened,what,visitor,email,value,product,order_number,campaign\n"
        "900,2026-05-02 10:00:00,help,,ann@example.com,,,,\n"
    )
    milepost("run", "--home", str(home), "--project", str(project))
    touches = {row["customer_id"]: row["touches"] for row in figures(home)["journeys"]}
    grown = [row for row in before["journeys"] if touches[row["customer_id"]] == row["touches"] + 1]
    assert len(grown) == 1


def test_there_is_a_home_of_every_release():
    from schemas.releases import released_versions

    kept = {path.name.removeprefix("home-").removesuffix(".tar.zst") for path in HOMES}
    assert set(released_versions()) <= kept
