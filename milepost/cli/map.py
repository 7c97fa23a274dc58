"""`milepost map`: what a mapping makes of the first records, and what it would reject; nothing is kept."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from milepost.cli.console import out, print_json
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, home_folder

#: Columns that say where a fact comes from, which a preview leaves out.
_ORIGIN = {"revision", "source", "received_at", "raw_ids", "mapping_version"}


def map_source(
    source: Annotated[str, typer.Option("--source", help="The source, as milepost.yaml names it.")],
    show: Annotated[int, typer.Option("--show", min=1, help="How many records of its first file.")] = 5,
    project: ProjectOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a mapping makes of a source's first records, and what it would reject. Nothing is kept."""
    from milepost.project import load_project
    from pipelines.ingest import preview_mapping

    loaded = load_project(project, home_folder(home))
    preview = preview_mapping(loaded, source, show)
    facts = [_fact(row) for row in preview.facts.iter_rows(named=True)]
    rejects = [{"row": r.row, "error_class": r.error_class, "reason": r.reason} for r in preview.rejects]
    if as_json:
        counts = {"file": preview.file, "records": preview.records, "filtered": preview.filtered}
        print_json({**counts, "facts": facts, "rejects": rejects})
        return
    kind = loaded.source(source).fact
    out.print(f"The first {preview.records:,} records of {preview.file} give", soft_wrap=True)
    for number, fact in enumerate(facts, start=1):
        out.print(f"\n[b]{kind} {number}[/b]")
        for name, value in fact.items():
            out.print(f"  {name:<18} {escape(_shown(value))}", soft_wrap=True)
    if preview.filtered:
        out.print(f"\n{preview.filtered:,} rows are filtered out: they have no kind.")
    for reject in rejects:
        place = "the file" if reject["row"] is None else f"row {reject['row']}"
        out.print(f"\n[yellow]rejected[/yellow] {place}: {escape(str(reject['reason']))}", soft_wrap=True)
    if not rejects:
        out.print("\nNone would be rejected.")


def _fact(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if name not in _ORIGIN and value is not None and value != []
    }


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
