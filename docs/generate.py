"""Writes the reference pages from what the code itself reads; `make docs` runs it, and a test sees stale ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_command

from connectors.collector.settings import CollectorSettings, NetworkCookie
from connectors.kafka.settings import KafkaSettings, SchemaRegistrySettings
from connectors.mapping.columns import mapping_columns
from milepost.cli import app
from milepost.cli.exit_codes import MEANINGS
from milepost.project import RAW_DAYS
from milepost.rules import Rules, ServiceLevel
from milepost.sources import CsvSettings, Source
from milepost.stream_settings import StreamSettings
from schemas.contracts import FACT_TYPES, UNRECOGNISED, avro_schema
from schemas.tables import load_tables
from schemas.vocabulary import Kind, load_vocabulary
from warehouse.views import all_views

#: The forms of a mapping's columns, in words.
FORMS = {
    "text": "text",
    "texts": "a text or a list of texts",
    "identifier": "`namespace:value`",
    "values": "a text or a list of texts",
    "native": "text: the source's own id",
    "time": "TIMESTAMP, with or without time zone",
    "day": "DATE",
    "amount": "DECIMAL or integer",
    "integer": "integer",
    "boolean": "boolean",
    "json": "JSON or a struct",
}
REFERENCE_FOLDER = Path(__file__).with_name("reference")


def pages() -> dict[str, str]:
    """Give every generated page: file name → text."""
    return {
        "vocabulary.md": vocabulary_page(),
        "facts.md": facts_page(),
        "mappings.md": mappings_page(),
        "tables.md": tables_page(),
        "views.md": views_page(),
        "settings.md": settings_page(),
        "command_line.md": command_line_page(),
    }


def vocabulary_page() -> str:
    """Describe stages, teams, channels, namespaces and kinds."""
    words = load_vocabulary()
    namespaces = [
        (
            f"`{name}`",
            namespace.label,
            "yes" if namespace.unique else "",
            namespace.max_links or "",
            "normalised and keyed-hashed" if namespace.personal else "",
        )
        for name, namespace in words.namespaces.items()
    ]
    kinds = [
        (f"`{name}`", kind.stage or "—", kind.channel, kind.team, kind.reach, kind.amount, _kind_notes(kind))
        for name, kind in words.kinds.items()
    ]
    labels = {"Teams": words.teams, "Reaches": words.reaches, "Channels": words.channels}
    return _page(
        "Vocabulary",
        "schemas/vocabulary.yaml",
        "## Stages\n\nIn order; until the first conversion a journey only moves forward.",
        _table(("stage", "label"), ((f"`{name}`", label) for name, label in words.stages.items())),
        *(
            f"## {title}\n\n{_table(('word', 'label'), ((f'`{n}`', label) for n, label in entries.items()))}"
            for title, entries in labels.items()
        ),
        "## Namespaces of identifiers\n\nThe strongest first. *Unique*: a customer holds at most one value. *Links*: "
        "directly linked to more distinct values than that within one unique namespace, a value is shared and stops "
        "linking.",
        _table(("namespace", "label", "unique", "links", "personal"), namespaces),
        "## Blocked values\n\nThese never link, whatever the namespace; values are compared in lower case.",
        ", ".join(f"`{value}`" if value else "the empty value" for value in words.blocklist.values)
        + "; and what matches "
        + ", ".join(f"`{pattern}`" for pattern in words.blocklist.patterns)
        + ".",
        "## Kinds of touchpoints\n\nChannel, team and reach are defaults that a mapping may override.",
        _table(("kind", "stage", "channel", "team", "reach", "amount", "notes"), kinds),
    )


def _kind_notes(kind: Kind) -> str:
    notes = [
        f"booking rank {kind.booking_rank}" if kind.amount == "booked" else "",
        f"handover: {kind.handover}" if kind.handover else "",
        f"opportunity: {kind.opportunity}" if kind.opportunity else "",
        f"subscription: {kind.subscription}" if kind.subscription else "",
        "an enquiry" if kind.enquiry else "",
        "only links identifiers" if kind.links_only else "",
    ]
    return ", ".join(note for note in notes if note)


def facts_page() -> str:
    """Describe the fields of every type of fact, and of a dead letter."""
    return _page(
        "Facts",
        "schemas/*.avsc",
        "A fact is one immutable record made from raw ones by a mapping. These are the contracts of the canonical bus, "
        f"in Avro. An enum reads a word that it does not know as `{UNRECOGNISED}`.",
        *(_record(name) for name in (*FACT_TYPES, "dead_letter")),
    )


def _record(name: str) -> str:
    schema = avro_schema(name)
    rows = [
        (
            f"`{field['name']}`",
            _avro_type(field["type"]),
            f"`{_default(field['default'])}`" if "default" in field else "required",
            field.get("doc", ""),
        )
        for field in schema["fields"]
    ]
    return f"## {name}\n\n{schema['doc']}\n\n" + _table(("field", "type", "default", "meaning"), rows)


def _default(value: Any) -> str:
    if value is None:
        return "null"
    return '""' if value == "" else str(value)


def _avro_type(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(_avro_type(branch) for branch in kind)
    if isinstance(kind, str):
        return kind
    if "logicalType" in kind:
        return str(kind["logicalType"])
    if kind["type"] == "array":
        return f"array of {_avro_type(kind['items'])}"
    if kind["type"] == "enum":
        listed = kind["name"].lower()
        return (
            f"enum: a {listed} of the [vocabulary](vocabulary.md)"
            if len(kind["symbols"]) > 3
            else _words(kind)
        )
    return str(kind["type"])


def _words(enum: dict[str, Any]) -> str:
    return "enum: " + ", ".join(f"`{symbol}`" for symbol in enum["symbols"] if symbol != UNRECOGNISED)


def mappings_page() -> str:
    """Describe the columns that a mapping may yield, type of fact by type of fact."""
    namespaces = tuple(load_vocabulary().namespaces)
    sections = []
    for fact in FACT_TYPES:
        columns = mapping_columns(fact, namespaces)
        # A column may also go by the contract's name: listed once, under its own.
        own = [column for name, column in columns.items() if name == column.name and name not in namespaces]
        listed = _table(("column", "form", "meaning"), ((f"`{c.name}`", FORMS[c.form], c.doc) for c in own))
        also = (
            "\n\nAnd a column for each namespace: " + ", ".join(f"`{name}`" for name in namespaces) + "."
            if namespaces[0] in columns
            else ""
        )
        sections.append(f"## {fact}\n\n{listed}{also}")
    return _page(
        "Columns of mappings",
        "connectors/mapping/columns.py",
        "What a mapping may yield for each type of fact. A column may also be called as the "
        "[contract](facts.md) calls it.",
        *sections,
    )


def tables_page() -> str:
    """Describe the base tables."""
    sections = [
        f"## {table.name}\n\n{table.doc} Key: {', '.join(f'`{column}`' for column in table.key)}."
        + ("" if table.digest else " Not in the digest.")
        + "\n\n"
        + _table(("column", "type", "meaning"), ((f"`{c.name}`", c.type, c.doc) for c in table.columns))
        for table in load_tables().values()
    ]
    return _page(
        "Base tables",
        "schemas/tables.yaml",
        "They are in the schema `journey` of the warehouse. Times are UTC; `*_micros` is money in millionths of the "
        "currency's unit; `credit` is DECIMAL(18,12). No table holds a floating-point number.",
        *sections,
    )


def views_page() -> str:
    """Describe the views of marketing and sales, and what both share."""
    sections = [
        f"## {view.name}\n\n{view.doc} Key: {', '.join(f'`{column}`' for column in view.grain)}.\n\n"
        + _table(("column", "meaning"), ((f"`{name}`", doc) for name, doc in view.columns.items()))
        for view in sorted(all_views().values(), key=lambda view: view.name)
    ]
    return _page(
        "Views",
        "warehouse/views/",
        "They read the base tables and the present from `journey.clock`. Both teams read the same base figures: the "
        "views of `shared` are what the others count from.",
        *sections,
    )


def settings_page() -> str:
    """Describe what `milepost.yaml` may hold."""
    sections = [
        "## Top level\n\n"
        + _table(
            ("setting", "default", "meaning"),
            (
                ("`sources`", "none", "Name of a source → its settings, below."),
                ("`rules`", "see below", "What the tables depend on; a change rebuilds them."),
                (
                    "`phone_region`",
                    "none",
                    "Country of telephone numbers without a country code, such as `DE`.",
                ),
                (
                    "`raw_days`",
                    str(RAW_DAYS),
                    "Days for which the raw zone keeps what was rejected, and Kafka raw records, in clear text.",
                ),
                ("`stream`", "see below", "The pace, sizes and ports of the continuous pipeline."),
                (
                    "`kafka`",
                    "a Kafka of its own",
                    "The cluster to use instead of one that `milepost up` starts.",
                ),
                ("`collector`", "see below", "How events are taken over HTTP."),
            ),
        ),
        *(
            f"## {title}\n\n{_settings(model)}"
            for title, model in (
                ("A source", Source),
                ("CSV of a source: `csv`", CsvSettings),
                ("Rules: `rules`", Rules),
                ("Service level of sales: `rules.service_level`", ServiceLevel),
                ("The stream: `stream`", StreamSettings),
                ("Kafka: `kafka`", KafkaSettings),
                ("A Schema Registry: `kafka.schema_registry`", SchemaRegistrySettings),
                ("The collector: `collector`", CollectorSettings),
                ("A cookie of the collector: `collector.network_cookie`", NetworkCookie),
            )
        ),
    ]
    return _page("Settings of a project", "milepost/project.py and milepost/rules.py", *sections)


def _settings(model: type[BaseModel]) -> str:
    rows = [
        (
            f"`{name}`",
            "required" if field.is_required() else _spelled(field.get_default(call_default_factory=True)),
            field.description or "",
        )
        for name, field in model.model_fields.items()
        if not field.exclude
    ]
    return _table(("setting", "default", "meaning"), rows)


def _spelled(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return ", ".join(f"`{part}`" for part in value) or "none"
    if isinstance(value, dict):
        return "none" if not value else f"`{value}`"
    return "none" if value is None else f"`{value}`"


def command_line_page() -> str:
    """Describe every command with its options, and the exit codes."""
    codes = _table(("code", "meaning"), ((int(code), meaning) for code, meaning in MEANINGS.items()))
    return _page(
        "Command line",
        "milepost/cli/",
        "Every command answers `--help`; those that a program would read take `--json`.",
        "## Exit codes\n\n" + codes,
        *_commands("milepost", get_command(app)),
    )


def _commands(name: str, command: Any) -> list[str]:
    if hasattr(command, "commands"):
        return [
            section
            for word, part in command.commands.items()
            for section in _commands(f"{name} {word}", part)
        ]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join(
        [
            name,
            *(f"{p.name.upper()}" if p.required else f"[{p.name.upper()}]" for p in arguments),
            "[OPTIONS]",
        ]
    )
    rows = [(f"`{p.name.upper()}`", p.help or "") for p in arguments] + [
        (", ".join(f"`{flag}`" for flag in [*p.opts, *p.secondary_opts]), p.help or "") for p in options
    ]
    parts = [f"## {name}", f"```\n{usage}\n```", (command.help or "").strip()]
    if rows:
        parts.append(_table(("option", "meaning"), rows))
    if command.epilog:
        parts.append("```\n" + "\n".join(_lines(command.epilog)) + "\n```")
    return ["\n\n".join(part for part in parts if part)]


def _lines(epilog: str) -> list[str]:
    return [line.strip() for line in epilog.replace("\b", "").splitlines() if line.strip()]


def _page(title: str, source: str, *sections: str) -> str:
    origin = f"<!-- Generated by `make docs` from {source}; do not edit. -->"
    return "\n\n".join([f"# {title}", origin, *sections]) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Write the pages that differ from what is on disk."""
    REFERENCE_FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = REFERENCE_FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"rewritten: docs/reference/{name}\n")


if __name__ == "__main__":
    main()
