"""The check of schema compatibility: each rule by an example, and all of them against what fastavro can read."""

import copy
import io
import json

import fastavro
import pytest
from fastavro.utils import generate_one
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.compatibility import REMEDIES, resolution_faults
from schemas.contracts import FACT_TYPES, avro_schema


def record(*fields, name="Touch", **more):
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(kind, name="value", **more):
    return {"name": name, "type": kind, **more}


def enum(*symbols, name="Kind", **more):
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


TIME = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
INCOMPATIBLE = [
    ("type_changed", "string", "long"),
    ("type_changed", "long", "int"),
    ("type_changed", "double", "float"),
    ("type_changed", TIME, "string"),
    ("type_changed", {"type": "array", "items": "string"}, {"type": "array", "items": "long"}),
    ("type_changed", {"type": "map", "values": "long"}, {"type": "map", "values": "boolean"}),
    ("logical_type_changed", TIME, MILLIS),
    ("logical_type_changed", TIME, "long"),
    ("symbols_without_default", enum("a", "b"), enum("a")),
    ("invalid_default", enum("a", "b"), enum("a", default="c")),
    ("name_changed", enum("a"), enum("a", name="Sort")),
    ("name_changed", record(name="Old"), record(name="New")),
    ("size_changed", {"type": "fixed", "name": "Id", "size": 16}, {"type": "fixed", "name": "Id", "size": 8}),
    ("branch_missing", ["null", "string"], "string"),
    ("branch_missing", ["null", "string", "long"], ["null", "string"]),
    ("branch_missing", "boolean", ["null", "string"]),
]
COMPATIBLE = [
    ("int", "long"),
    ("int", "double"),
    ("long", "float"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
    ("string", ["null", "string"]),
    ("int", ["null", "long"]),
    (["null", "string"], ["string", "null", "boolean"]),
    (enum("a", "b"), enum("a", "c", default="c")),
    (enum("a"), enum("a", name="Sort", aliases=["Kind"])),
    (record(name="Old"), record(name="New", aliases=["Old"])),
    (enum("a", namespace="one"), enum("a", namespace="two")),
]


def faults(writer, reader):
    return resolution_faults("touch", writer, reader, "backward")


@pytest.mark.parametrize(("rule", "written", "read"), INCOMPATIBLE)
def test_a_value_that_cannot_be_read_is_seen(rule, written, read):
    found = faults(record(field(written)), record(field(read)))
    assert [fault.rule for fault in found] == [rule]
    assert found[0].field.startswith("value")
    assert REMEDIES[rule] in str(found[0])


@pytest.mark.parametrize(("written", "read"), COMPATIBLE)
def test_a_value_that_can_be_read_is_no_fault(written, read):
    assert faults(record(field(written)), record(field(read))) == []


def test_a_new_field_needs_a_default_of_its_type():
    old = record(field("string", "kept"))
    assert [f.rule for f in faults(old, record(field("string", "kept"), field("long")))] == [
        "missing_default"
    ]
    assert faults(old, record(field("string", "kept"), field("long", default=0))) == []
    wrong = record(field("string", "kept"), field(["null", "long"], default=0))
    assert [f.rule for f in faults(old, wrong)] == ["invalid_default"]


def test_a_field_that_goes_away_hurts_the_older_reader_unless_it_has_a_default():
    old = record(field("string", "kept"), field("long", "gone"))
    assert faults(old, record(field("string", "kept"))) == []
    forward = resolution_faults("touch", record(field("string", "kept")), old, "forward")
    assert [(f.rule, f.field, f.direction) for f in forward] == [("missing_default", "gone", "forward")]


def test_a_renamed_field_is_found_by_its_alias():
    renamed = record(field("string", "name", aliases=["value"]))
    assert faults(record(field("string")), renamed) == []
    assert [f.rule for f in faults(record(field("string")), record(field("string", "name")))] == [
        "missing_default"
    ]


def test_faults_in_nested_records_name_the_whole_path_and_recursion_ends():
    def tree(kind):
        return record(
            field(kind, "leaf"),
            field(["null", "Tree"], "child"),
            field(record(field(kind, "depth"), name="Inner"), "inner"),
            name="Tree",
        )

    assert faults(tree("long"), tree("long")) == []
    assert [f.field for f in faults(tree("long"), tree("string"))] == ["leaf", "inner.depth"]


@pytest.mark.parametrize("name", [*FACT_TYPES, "dead_letter"])
def test_every_contract_reads_what_it_wrote(name):
    schema = avro_schema(name)
    fastavro.parse_schema(copy.deepcopy(schema))
    assert faults(schema, schema) == []


# Against fastavro: what the check calls readable, fastavro reads.

plain = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "bytes"])
enums = st.builds(
    lambda symbols, default: enum(*symbols, **({"default": symbols[0]} if default else {})),
    st.lists(st.sampled_from("abcd"), min_size=1, unique=True),
    st.booleans(),
)
fixed = st.builds(lambda size: {"type": "fixed", "name": "Id", "size": size}, st.integers(1, 3))
single = plain | enums | fixed | st.builds(lambda items: {"type": "array", "items": items}, plain)
unions = st.lists(plain, min_size=1, max_size=3, unique=True)
DEFAULTS = {
    "null": None,
    "boolean": True,
    "int": 1,
    "long": 1,
    "float": 0.5,
    "double": 0.5,
    "string": "",
    "bytes": "",
}


@st.composite
def records(draw):
    """A record of up to three fields whose names and types often meet those of another one."""
    fields = []
    for name in draw(st.lists(st.sampled_from("pqr"), max_size=3, unique=True)):
        # Avro allows a name to be defined once, so that named types may appear in one field only.
        kind = draw(single if name == "p" else plain | unions)
        first = kind[0] if isinstance(kind, list) else kind
        more = {"default": DEFAULTS[first]} if isinstance(first, str) and draw(st.booleans()) else {}
        fields.append(field(kind, name, **more))
    return record(*fields)


@settings(max_examples=400, deadline=None)
@given(records(), records())
def test_what_the_check_calls_readable_fastavro_reads(writer, reader):
    if faults(writer, reader):
        return
    parsed = fastavro.parse_schema(copy.deepcopy(writer))
    for _ in range(3):
        data = io.BytesIO()
        fastavro.schemaless_writer(data, parsed, generate_one(parsed))
        data.seek(0)
        try:
            fastavro.schemaless_reader(data, parsed, fastavro.parse_schema(copy.deepcopy(reader)))
        except UnicodeDecodeError:
            # Bytes that are no UTF-8 cannot become a string; Avro's rules allow the promotion all the same.
            assert "bytes" in json.dumps(writer)


@settings(max_examples=200, deadline=None)
@given(records(), records())
def test_what_fastavro_refuses_the_check_has_seen(writer, reader):
    parsed, wanted = (fastavro.parse_schema(copy.deepcopy(schema)) for schema in (writer, reader))
    data = io.BytesIO()
    fastavro.schemaless_writer(data, parsed, generate_one(parsed))
    data.seek(0)
    try:
        fastavro.schemaless_reader(data, parsed, wanted)
    except fastavro.read.SchemaResolutionError:
        assert faults(writer, reader)
    except UnicodeDecodeError:
        pass
