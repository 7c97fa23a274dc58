"""May data written with one Avro schema be read with another? Avro's rules, and ours on top.

Old data must be readable by today's code (*backward*), and today's data by the code of each release
(*forward*): a bus holds both for years. Where Avro would read a value with another meaning (a time in other
units), we say no.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

#: A schema as JSON gives it: a name, a union (list) or a complex type (dictionary).
Schema = Any
Direction = Literal["backward", "forward"]

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

#: Writer's type → the other types that a reader may have for it.
PROMOTIONS: dict[str, frozenset[str]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}

#: Rule → what helps. The order is that of the documentation.
REMEDIES: dict[str, str] = {
    "type_changed": "keep the old type, or add a field with another name and a default beside it",
    "logical_type_changed": "keep the unit of the old values; add a field with another name for another unit",
    "missing_default": "give the field a default, so that data without it can be read",
    "invalid_default": "give a default of the field's type; of a union, of its first branch",
    "name_changed": "keep the name, or list the old one under `aliases`",
    "symbols_without_default": "give the enum a `default` among its symbols; unknown words are read as it",
    "size_changed": "keep the size, or add a field with another name",
    "branch_missing": "keep every branch of the union that data may have been written with",
    "schema_removed": "keep the schema file: data of this type exists",
    "word_removed": "put the word back: facts that use it would be read as `unrecognised`",
    "order_changed": "keep the order of the stages: journeys move through them in it",
    "table_removed": "keep the table: others read it",
    "column_removed": "keep the column: others read it",
    "column_type_changed": "keep the column's type, and add a column with another name beside it",
    "key_changed": "keep the key: others join on it",
}


@dataclass(frozen=True)
class Fault:
    """One reason why one side cannot read what the other wrote."""

    schema: str
    field: str
    rule: str
    what: str
    direction: Direction = "backward"

    @property
    def remedy(self) -> str:
        """What helps."""
        return REMEDIES[self.rule]

    def __str__(self) -> str:
        """One line: where, what, and what helps."""
        place = f"{self.schema}.{self.field}" if self.field else self.schema
        return f"{place}: {self.what} [{self.rule}, {self.direction}]. Remedy: {self.remedy}."


def resolution_faults(name: str, writer: Schema, reader: Schema, direction: Direction) -> list[Fault]:
    """List why data written with `writer` may not be readable with `reader`; empty if all of it is.

    Args:
        name: the schema's name in messages.
        writer: the Avro schema that data was written with, as parsed JSON.
        reader: the Avro schema that it is read with, as parsed JSON.
        direction: which way the question is asked; it only marks the faults.
    """
    resolution = _Resolution(name, direction, _named_types(writer), _named_types(reader))
    return list(resolution.faults(writer, reader, ""))


def _named_types(schema: Schema) -> dict[str, dict[str, Any]]:
    """Collect records, enums and fixed by their unqualified names, which is how Avro matches them."""
    found: dict[str, dict[str, Any]] = {}
    if isinstance(schema, list):
        for branch in schema:
            found |= _named_types(branch)
    elif isinstance(schema, dict):
        if schema["type"] in ("record", "enum", "fixed"):
            found[_unqualified(schema["name"])] = schema
        for part in ("items", "values"):
            if part in schema:
                found |= _named_types(schema[part])
        for field in schema.get("fields", ()):
            found |= _named_types(field["type"])
        if isinstance(schema["type"], dict | list):
            found |= _named_types(schema["type"])
    return found


def _unqualified(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _kind(schema: Schema) -> str:
    kind: str = "union" if isinstance(schema, list) else schema if isinstance(schema, str) else schema["type"]
    return kind


def _logical(schema: Schema) -> tuple[Any, ...] | None:
    if not isinstance(schema, dict) or "logicalType" not in schema:
        return None
    return (schema["logicalType"], schema.get("precision"), schema.get("scale"))


def _spelled(schema: Schema) -> str:
    if isinstance(schema, list):
        return "[" + ", ".join(_spelled(branch) for branch in schema) + "]"
    if isinstance(schema, str):
        return schema
    label = f"{schema['type']} {schema['name']}" if "name" in schema else str(schema["type"])
    return f"{label} ({schema['logicalType']})" if "logicalType" in schema else label


class _Resolution:
    """One question: the named types of both sides, and the pairs of records under way (they may recur)."""

    def __init__(
        self,
        name: str,
        direction: Direction,
        writers: dict[str, dict[str, Any]],
        readers: dict[str, dict[str, Any]],
    ) -> None:
        self._name = name
        self._direction = direction
        self._writers = writers
        self._readers = readers
        self._under_way: set[tuple[str, str]] = set()

    def faults(self, writer: Schema, reader: Schema, field: str) -> Iterator[Fault]:
        """Yield why a value of `writer` may not be readable as `reader`."""
        writer, reader = _resolved(writer, self._writers), _resolved(reader, self._readers)
        if isinstance(writer, list):
            yield from self._each_branch(writer, reader, field)
        elif isinstance(reader, list):
            yield from self._some_branch(writer, reader, field)
        elif _kind(writer) != _kind(reader):
            if _kind(reader) not in PROMOTIONS.get(_kind(writer), ()) or _logical(writer) or _logical(reader):
                yield self._fault(
                    field, "type_changed", f"{_spelled(writer)} cannot be read as {_spelled(reader)}"
                )
        elif _logical(writer) != _logical(reader):
            yield self._fault(
                field, "logical_type_changed", f"{_spelled(writer)} would be read as {_spelled(reader)}"
            )
        else:
            yield from self._same_kind(writer, reader, field)

    def _fault(self, field: str, rule: str, what: str) -> Fault:
        return Fault(self._name, field, rule, what, self._direction)

    def _each_branch(self, writer: list[Schema], reader: Schema, field: str) -> Iterator[Fault]:
        for branch in writer:
            branch_faults = list(self.faults(branch, reader, field))
            if branch_faults and not isinstance(reader, list) and _kind(branch) != _kind(reader):
                yield self._fault(
                    field, "branch_missing", f"{_spelled(branch)} was allowed; {_spelled(reader)} is read"
                )
            else:
                yield from branch_faults

    def _some_branch(self, writer: Schema, reader: list[Schema], field: str) -> Iterator[Fault]:
        # A reader takes the first branch of the same type and name, else the first that fits.
        same = [branch for branch in reader if self._same_type(writer, branch)]
        if same:
            yield from self.faults(writer, same[0], field)
        elif not any(not list(self.faults(writer, branch, field)) for branch in reader):
            yield self._fault(
                field, "branch_missing", f"{_spelled(writer)} is in no branch of {_spelled(reader)}"
            )

    def _same_type(self, writer: Schema, reader: Schema) -> bool:
        reader = _resolved(reader, self._readers)
        if _kind(writer) != _kind(reader):
            return False
        return "name" not in writer or isinstance(writer, str) or _same_name(writer, reader)

    def _same_kind(self, writer: Schema, reader: Schema, field: str) -> Iterator[Fault]:
        kind = _kind(writer)
        if kind in PRIMITIVES:
            return
        if kind == "array":
            yield from self.faults(writer["items"], reader["items"], f"{field}[]")
        elif kind == "map":
            yield from self.faults(writer["values"], reader["values"], f"{field}{{}}")
        elif not _same_name(writer, reader):
            yield self._fault(
                field, "name_changed", f"{_spelled(writer)} is not {_spelled(reader)}, nor an alias of it"
            )
        elif kind == "enum":
            yield from self._enum(writer, reader, field)
        elif kind == "fixed":
            if writer["size"] != reader["size"]:
                yield self._fault(field, "size_changed", f"{writer['size']} bytes became {reader['size']}")
        elif kind == "record":
            yield from self._record(writer, reader, field)

    def _enum(self, writer: dict[str, Any], reader: dict[str, Any], field: str) -> Iterator[Fault]:
        unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        default = reader.get("default")
        if default is not None and default not in reader["symbols"]:
            yield self._fault(field, "invalid_default", f"the default {default!r} is no symbol of the enum")
        elif unknown and default is None:
            yield self._fault(
                field, "symbols_without_default", f"the reader does not know {', '.join(unknown)}"
            )

    def _record(self, writer: dict[str, Any], reader: dict[str, Any], path: str) -> Iterator[Fault]:
        pair = (writer["name"], reader["name"])
        if pair in self._under_way:
            return
        self._under_way.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            place = f"{path}.{field['name']}" if path else field["name"]
            names = [field["name"], *field.get("aliases", ())]
            source = next((written[name] for name in names if name in written), None)
            if "default" in field and not self._is_default(field["type"], field["default"]):
                yield self._fault(
                    place, "invalid_default", f"{field['default']!r} is no {_spelled(field['type'])}"
                )
            if source is not None:
                yield from self.faults(source["type"], field["type"], place)
            elif "default" not in field:
                yield self._fault(
                    place, "missing_default", "data without the field exists, and it has no default"
                )
        self._under_way.discard(pair)

    def _is_default(self, schema: Schema, value: Any) -> bool:
        schema = _resolved(schema[0] if isinstance(schema, list) else schema, self._readers)
        kind = _kind(schema)
        if kind == "enum":
            return value in schema["symbols"]
        if kind in ("int", "long"):
            return isinstance(value, int) and not isinstance(value, bool)
        expected: dict[str, type | tuple[type, ...]] = {
            "null": type(None),
            "boolean": bool,
            "float": (int, float),
            "double": (int, float),
            "array": list,
            "map": dict,
            "record": dict,
        }
        return isinstance(value, expected.get(kind, str))


def _same_name(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    known = {_unqualified(reader["name"]), *(_unqualified(alias) for alias in reader.get("aliases", ()))}
    return _unqualified(writer["name"]) in known


def _resolved(schema: Schema, named: dict[str, dict[str, Any]]) -> Schema:
    """Follow a reference to a named type, and take the type out of a needless `{"type": {...}}`."""
    if isinstance(schema, str) and schema not in PRIMITIVES:
        return named[_unqualified(schema)]
    if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
        return _resolved(schema["type"], named)
    return schema
