"""`milepost status`: what is in the home, and whether all is well."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.markup import escape

from milepost.cli.console import out, print_json
from milepost.cli.options import HomeOption, JsonOption, StoreOption, home_folder, store_in


def status(home: HomeOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show what is in the home: publication, facts, dead letters, the bus, the raw zone and when it is cleared.

    While `milepost up` runs: its parts, the lag of each topic, how fresh the tables are, and fates since the start.
    """
    from milepost.cli.live import print_live, read_live

    folder = home_folder(home)
    url = store_in(folder, store)
    live = read_live(folder)
    if as_json:
        print_json({**read_status(folder, url), "live": live})
        return
    if live is not None:
        print_live(live)
    for name, value in _lines(read_status(folder, url)):
        out.print(f"[b]{name:<18}[/b] {escape(value)}", soft_wrap=True)


def read_status(home: Path, store_url: str | None = None) -> dict[str, Any]:
    """Look at a home; `publication` is None where the tables stand ready for the first one.

    Raises:
        CommandError: there are no tables.
    """
    from connectors.bus import Bus
    from milepost.cli.home_record import raw_days
    from milepost.cli.retention import oldest_payload
    from milepost.cli.warehouse import open_warehouse

    bus = Bus(home)
    with open_warehouse(home, store_url) as warehouse:
        publications = warehouse.rows(
            "SELECT publication_id, published_at, facts, audit_result, version FROM journey.publications "
            "ORDER BY published_at DESC LIMIT 1"
        )
        counts = warehouse.rows(
            "SELECT (SELECT count(*) FROM journey.journeys WHERE NOT shared AND touches > 0) AS customers, "
            "(SELECT count(*) FROM journey.accounts) AS accounts, "
            "(SELECT count(*) FROM journey.touchpoints) AS touchpoints, "
            "(SELECT count(*) FROM journey.conversions) AS conversions"
        )[0]
        letters = warehouse.rows(
            "SELECT source, count(*) AS open FROM journey.dead_letters WHERE status = 'open' "
            "GROUP BY source ORDER BY source"
        )
    standing = bus.registry().standing.values()
    partial = [
        {"source": e.source, "file": e.path, "error": e.error} for e in standing if e.status == "partial"
    ]
    oldest, kept_days = oldest_payload(home), raw_days(home)
    return {
        "home": str(home),
        "bytes": _size(home),
        "publication": next(iter(publications), None),
        **counts,
        "open_dead_letters": {row["source"]: row["open"] for row in letters},
        "files_ingested": len(standing),
        "files_not_read_to_their_end": partial,
        "raw_zone": {
            "kept_days": kept_days,
            "oldest": oldest,
            "cleared_by": None if oldest is None else oldest + timedelta(days=kept_days),
        },
    }


def _size(home: Path) -> int:
    # What is on the disk: Kafka's index files are long, and mostly holes.
    return sum(path.stat().st_blocks * 512 for path in home.rglob("*") if path.is_file())


def _publication_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    publication, files = found["publication"], f"{found['files_ingested']:,} files"
    if publication is None:
        return [
            (
                "published",
                f"nothing yet; {files} are ingested, and the first facts that are stitched show here",
            )
        ]
    return [
        (
            "published",
            f"{publication['published_at']:%Y-%m-%d %H:%M:%S} UTC by Milepost {publication['version']}",
        ),
        ("audit", publication["audit_result"].replace("_", " ")),
        ("facts", f"{publication['facts']:,} that stand, from {files}"),
    ]


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    letters = found["open_dead_letters"]
    raw = found["raw_zone"]
    lines = [
        ("home", f"{found['home']} ({found['bytes'] / 1024**2:,.1f} MiB)"),
        *_publication_lines(found),
        (
            "journeys",
            f"{found['customers']:,} customers, {found['accounts']:,} accounts, "
            f"{found['touchpoints']:,} touchpoints, {found['conversions']:,} conversions",
        ),
        (
            "dead letters",
            ", ".join(f"{count:,} of {source}" for source, count in letters.items()) or "none open",
        ),
        (
            "raw zone",
            f"payloads are kept {raw['kept_days']} days; "
            + (
                "it is empty" if raw["oldest"] is None else f"the oldest goes on {raw['cleared_by']:%Y-%m-%d}"
            ),
        ),
    ]
    lines += [
        ("not read to its end", f"{file['source']}: {file['file']}: {file['error']}")
        for file in found["files_not_read_to_their_end"]
    ]
    return lines
