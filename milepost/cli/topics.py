"""`milepost topics`: the topics on Kafka, from their one definition."""

from __future__ import annotations

import typer

from milepost.cli.console import out, plain_table, print_json
from milepost.cli.options import HomeOption, JsonOption, ProjectOption
from milepost.cli.stream import machine_of

app = typer.Typer(no_args_is_help=True, help="Show and create the topics on Kafka.")


@app.command(epilog="Example:\n\n  milepost topics show --json")
def show(project: ProjectOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the topics that the project needs, as they should be: for whoever creates them by other means."""
    topics = machine_of(project, home).topics()
    if as_json:
        print_json(
            [
                {
                    "name": topic.name,
                    "holds": topic.holds,
                    "partitions": topic.partitions,
                    "configuration": topic.configuration,
                }
                for topic in topics
            ]
        )
        return
    table = plain_table("Topics", "topic", "holds", "partitions", "kept", "cleanup", right=("partitions",))
    for topic in topics:
        days = topic.retention_ms // 86_400_000
        kept = "for ever" if topic.retention_ms < 0 else f"{days:,} days"
        table.add_row(topic.name, topic.holds, str(topic.partitions), kept, topic.cleanup)
    out.print(table)


@app.command(epilog="Example:\n\n  milepost topics ensure")
def ensure(project: ProjectOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Create the topics that the cluster lacks, and say what differs in those that it has; nothing is altered."""
    report = machine_of(project, home).ensure_topics()
    if as_json:
        print_json({"created": report.created, "differences": [str(one) for one in report.differences]})
        return
    for name in report.created:
        out.print(f"created {name}")
    for difference in report.differences:
        out.print(f"[yellow]differs:[/yellow] {difference}", soft_wrap=True)
    if not report.created and not report.differences:
        out.print("Every topic is there, as it should be.")
