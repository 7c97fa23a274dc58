"""A newcomer's project from `init` to a correction: real files, bus, Beam, store and warehouse."""

import json
import shutil
import sys
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner

from milepost.cli import app, main
from milepost.cli.exit_codes import ExitCode
from milepost.cli.retention import clear_raw_zone
from milepost.cli.warehouse import open_warehouse
from warehouse.lock import home_lock


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the newcomer's project, run once; tests run in their order."""
    folder = tmp_path_factory.mktemp("newcomer")
    assert CliRunner().invoke(app, ["init", str(folder / "shop")]).exit_code == 0
    first = milepost(folder, "run")
    assert first.exit_code == 0, first.output
    (folder / "first.txt").write_text(first.stdout)
    return folder


def milepost(folder, *words):
    project = (
        []
        if words[0] in ("journey", "status") or words[:2] == ("dead-letters", "list")
        else ["--project", str(folder / "shop")]
    )
    return CliRunner().invoke(app, [*words, "--home", str(folder / "home"), *project])


def answer(folder, *words):
    result = milepost(folder, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def code_of(monkeypatch, capsys, folder, *words):
    """Run the whole command line, and give its exit code and what it says on standard error."""
    arguments = ["milepost", *words, "--home", str(folder / "home"), "--project", str(folder / "shop")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_run_prints_what_a_user_wants_to_see(place):
    printed = (place / "first.txt").read_text()
    for words in (
        "20 mapped, 1 rejected",
        "20 accepted",
        "Consideration",
        "5 conversions booked EUR 258.60, EUR 169.60 after refunds",
        "last_touch",
        "markov",
        "warehouse.duckdb",
        "milepost journey",
    ):
        assert words in printed


def test_the_report_of_the_audit_is_there_and_the_home_is_private(place):
    assert list((place / "home" / "reports").glob("*.html"))
    for path in (place / "home", place / "home" / "hashing.key"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_second_run_finds_nothing_new_and_a_rebuild_gives_the_same(place):
    again = answer(place, "run")
    assert again["run"]["mode"] == "nothing"
    rebuilt = answer(place, "run", "--rebuild")
    assert rebuilt["run"]["mode"] == "rebuild"
    assert rebuilt["run"]["fates"]["shop"]["facts"]["accepted"] == 20
    for part in ("stages", "booked", "channels", "customers"):
        assert rebuilt[part] == again[part]


def test_status_and_dead_letters_say_what_was_rejected(place):
    found = answer(place, "status")
    assert found["open_dead_letters"] == {"shop": 1}
    assert found["raw_zone"]["kept_days"] == 90
    [letter] = answer(place, "dead-letters", "list")
    assert "row 21" in letter["reason"]
    shown = CliRunner().invoke(
        app,
        ["dead-letters", "show", letter["dead_letter_id"][:8], "--payload", "--home", str(place / "home")],
    )
    assert "the day after" in shown.output


def test_map_previews_and_keeps_nothing(place):
    before = answer(place, "status")
    preview = answer(place, "map", "--source", "shop", "--show", "21")
    assert [reject["row"] for reject in preview["rejects"]] == [21]
    assert preview["facts"][0]["kind"] == "ad_click_social"
    assert answer(place, "status") == before


def test_a_link_joins_and_its_retraction_parts_again(place):
    dry = answer(place, "link", "cookie:c-102", "email:ann@example.com", "--dry-run")
    assert {("journeys", "removed"), ("identity_links", "added")} <= {(c["table"], c["change"]) for c in dry}
    alone = answer(place, "journey", "cookie:c-102")
    answer(place, "link", "cookie:c-102", "email:ann@example.com")
    joined = answer(place, "journey", "cookie:c-102")
    assert joined["customer_id"] == answer(place, "journey", "email:ann@example.com")["customer_id"]
    answer(place, "unlink", "email:ann@example.com", "cookie:c-102", "--reason", "a guess")
    assert answer(place, "journey", "cookie:c-102")["touches"] == alone["touches"]


def test_what_a_dry_run_lists_is_what_a_retraction_changes(place):
    order = next(t for t in answer(place, "journey", "cookie:c-105")["touches"] if t["kind"] == "order")
    dry = answer(place, "retract", order["event_id"], "--dry-run")
    gone = {change["key"]["conversion_id"] for change in dry if change["table"] == "conversions"}
    assert order["event_id"] in gone
    answer(place, "retract", order["event_id"])
    with open_warehouse(place / "home") as warehouse:
        left = {
            row["conversion_id"] for row in warehouse.rows("SELECT conversion_id FROM journey.conversions")
        }
    assert order["event_id"] not in left


def test_erasing_forgets_a_person_and_gives_a_receipt(place):
    receipt = answer(place, "erase", "email:ben@example.com", "--reason", "asked by letter")
    places = {entry["place"]: entry["what"] for entry in receipt["places"]}
    assert "1 rows of journeys" in places["warehouse and its snapshot"]
    assert "data/shop_2026.csv" in places["source files"]
    gone = milepost(place, "journey", "email:ben@example.com")
    assert "nobody is known" in str(gone.exception)
    # The same rows come once more: they stay erased.
    shutil.copy(place / "shop" / "data" / "shop_2026.csv", place / "shop" / "data" / "again.csv")
    with (place / "shop" / "data" / "again.csv").open("a") as file:
        file.write("22,2026-05-01 10:00:00,visit,c-107,,,,,\n")
    assert milepost(place, "run").exit_code == 0
    assert "nobody is known" in str(milepost(place, "journey", "cookie:c-103").exception)
    assert answer(place, "journey", "cookie:c-107")["touches"]


def test_a_corrected_mapping_replays_what_was_rejected(place):
    mapping = place / "shop" / "mappings" / "shop.sql"
    corrected = mapping.read_text().replace(
        "CAST(happened AS TIMESTAMP)",
        "coalesce(TRY_CAST(happened AS TIMESTAMP), TIMESTAMP '2026-05-01 00:00:00')",
    )
    mapping.write_text(corrected)
    assert milepost(place, "run").exit_code == 0
    assert answer(place, "journey", "cookie:c-106")["touches"]
    assert answer(place, "dead-letters", "list") == []


def test_a_replay_of_a_file_that_was_mended_says_what_is_left_and_dismissing_closes_it(place):
    data = place / "shop" / "data" / "late.csv"
    head = (place / "shop" / "data" / "shop_2026.csv").read_text().partition("\n")[0]
    data.write_text(f"{head}\n31,2026-05-03 10:00:00,no such thing,c-131,,,,,\n")
    assert milepost(place, "run").exit_code == 0
    [letter] = answer(place, "dead-letters", "list")
    assert answer(place, "status")["open_dead_letters"] == {"shop": 1}
    assert letter["received_at"].endswith("+00:00")
    data.write_text(f"{head}\n31,2026-05-03 10:00:00,visit,c-131,,,,,\n")
    replayed = milepost(place, "dead-letters", "replay", "--json")
    assert json.loads(replayed.stdout)["warehouse"]
    assert "data/late.csv is gone or has changed" in replayed.stderr
    assert answer(place, "journey", "cookie:c-131")["touches"]
    assert answer(place, "status")["files_not_read_to_their_end"] == []
    home = ["--home", str(place / "home"), "--json"]
    closed = CliRunner().invoke(app, ["dead-letters", "dismiss", letter["dead_letter_id"][:8], *home])
    assert json.loads(closed.stdout) == {"dismissed": [letter["dead_letter_id"]]}
    assert answer(place, "dead-letters", "list") == []
    assert answer(place, "status")["open_dead_letters"] == {}


def test_the_store_stays_closed_where_the_home_is_opened_to_readers(place):
    modes = {
        name: (place / "home" / name).stat().st_mode & 0o077
        for name in ("store.duckdb", "hashing.key", "bus")
    }
    assert modes == dict.fromkeys(modes, 0)


def test_dismissing_asks_for_one_letter_or_a_source(place):
    assert CliRunner().invoke(app, ["dead-letters", "dismiss"]).exit_code == ExitCode.USAGE


def test_a_retraction_of_nothing_says_that_it_waits(place, monkeypatch, capsys):
    assert "waiting" in milepost(place, "retract", "0" * 32).stdout
    assert code_of(monkeypatch, capsys, place, "retract", "visit-21") == ExitCode.USAGE
    assert "32 hexadecimal digits" in capsys.readouterr().err


def test_a_second_project_is_not_mixed_into_a_home(place, monkeypatch, capsys):
    other = place / "other"
    shutil.copytree(place / "shop", other / "shop", dirs_exist_ok=True)
    (other / "home").symlink_to(place / "home")
    assert code_of(monkeypatch, capsys, other, "run") == ExitCode.USAGE


def test_a_second_run_at_the_same_time_is_told_so(place, monkeypatch, capsys):
    with home_lock(place / "home", "run"):
        assert code_of(monkeypatch, capsys, place, "run") == ExitCode.BUSY


def test_a_file_that_cannot_be_read_says_so_and_the_rest_lands(place, monkeypatch, capsys):
    (place / "shop" / "data" / "broken.jsonl.gz").write_bytes(b"\x1f\x8b\x08 no such thing")
    with (place / "shop" / "data" / "more.csv").open("w") as file:
        file.write("id,happened,what,visitor,email,value,product,order_number,campaign\n")
        file.write("23,2026-05-02 10:00:00,visit,c-108,,,,,\n")
    configuration = (place / "shop" / "milepost.yaml").read_text()
    (place / "shop" / "milepost.yaml").write_text(configuration.replace("data/*.csv", "data/*"))
    assert code_of(monkeypatch, capsys, place, "run") == ExitCode.INPUTS_REJECTED
    [partial] = answer(place, "status")["files_not_read_to_their_end"]
    assert partial["file"].endswith("broken.jsonl.gz")
    assert answer(place, "journey", "cookie:c-108")["touches"]


def test_a_mapping_with_a_mistake_names_it(place, monkeypatch, capsys):
    (place / "shop" / "mappings" / "shop.sql").write_text("SELEKT 1 FROM raw")
    assert code_of(monkeypatch, capsys, place, "run") == ExitCode.USAGE


def test_payloads_are_kept_for_as_many_days_as_the_project_says(tmp_path):
    assert CliRunner().invoke(app, ["init", str(tmp_path / "shop")]).exit_code == 0
    with (tmp_path / "shop" / "milepost.yaml").open("a") as configuration:
        configuration.write("raw_days: 1\n")
    answer(tmp_path, "run")
    assert answer(tmp_path, "status")["raw_zone"]["kept_days"] == 1
    [letter] = answer(tmp_path, "dead-letters", "list")
    received_at, home = datetime.fromisoformat(letter["received_at"]), tmp_path / "home"
    assert clear_raw_zone(home, received_at + timedelta(hours=23), days=1) == 0
    assert clear_raw_zone(home, received_at + timedelta(hours=25), days=1) == 1
    assert answer(tmp_path, "status")["raw_zone"]["oldest"] is None
