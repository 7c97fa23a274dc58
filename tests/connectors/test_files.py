"""Files of every format, sound and hostile: good records come through, bad ones are told by their number."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dead_letters import Reject
from connectors.errors import UnreadableFileError
from connectors.files import batch as batch_module
from connectors.files.batch import RawBatch
from connectors.files.csv_records import read_csv
from connectors.files.json_records import read_jsonl
from connectors.files.typed_records import read_avro, read_parquet
from milepost.sources import CsvSettings


def records(batches: list[RawBatch]) -> list[dict[str, object]]:
    return [record for batch in batches for record in batch.table.to_pylist()]


def rejects(batches: list[RawBatch]) -> list[tuple[int | None, str]]:
    return [(reject.row, reject.error_class) for batch in batches for reject in batch.rejects]


def write(folder: Path, content: bytes, name: str = "f.csv") -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


HOSTILE_CSV = (
    b'\xef\xbb\xbfa,b,c\r\n1,"x, ""y""\nz",3\r\n\r\n1,2\n1,2,3,4\n"a"b,2,3\n\xff,2,3\n1,\x00,3\n,,\n'
    + b"1,"
    + b"x" * 10_000_000
    + b',3\n"open,1,2\n9,8,7'
)


def test_bad_csv_records_are_told_and_the_others_come_through(tmp_path: Path) -> None:
    read = list(read_csv(write(tmp_path, HOSTILE_CSV), CsvSettings()))
    assert records(read) == [
        {"_row": 1, "a": "1", "b": 'x, "y"\nz', "c": "3"},
        {"_row": 7, "a": None, "b": None, "c": None},
        {"_row": 10, "a": "9", "b": "8", "c": "7"},
    ]
    assert rejects(read) == [
        (2, "too_few_columns"),
        (3, "too_many_columns"),
        (4, "bad_quotes"),
        (5, "invalid_utf8"),
        (6, "nul_byte"),
        (8, "field_too_long"),
        (9, "bad_quotes"),
    ]


CELLS = st.text(alphabet=st.sampled_from('ab,"\n é'), max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    chunk=st.integers(1, 40),
)
def test_csv_is_read_as_python_reads_it_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    line_end: str,
    quoting: int,
    chunk: int,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([("p", "q", "r"), *rows])
    file = write(tmp_path_factory.mktemp("csv"), text.getvalue().encode())
    whole = batch_module.CHUNK_BYTES
    try:
        batch_module.CHUNK_BYTES = chunk
        read = list(read_csv(file, CsvSettings()))
    finally:
        batch_module.CHUNK_BYTES = whole
    assert not rejects(read)
    cells = [(record["p"], record["q"], record["r"]) for record in records(read)]
    assert cells == [tuple(cell or None for cell in row) for row in rows]


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=80) | st.text(alphabet='a",\n\r\0{}:[]1', max_size=80).map(str.encode))
def test_no_bytes_break_a_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    lines = [line for line in content.split(b"\n") if line not in (b"", b"\r")]
    for name, expected in (("f.csv", None), ("f.jsonl", len(lines))):
        file = write(folder, content, name)
        read: list[RawBatch] = []
        try:
            for batch in read_csv(file, CsvSettings()) if name == "f.csv" else read_jsonl(file):
                read.append(batch)  # noqa: PERF402 - what came before a fault counts
        except UnreadableFileError:
            continue
        numbers = sorted([*(r["_row"] for r in records(read)), *(row for row, _ in rejects(read))])  # type: ignore[type-var]
        assert numbers == list(range(1, len(numbers) + 1)), "each record is either good or bad"
        if expected is not None and not content.startswith(b"\xef\xbb\xbf"):
            assert len(numbers) == expected


def test_bad_json_records_are_told_and_the_others_come_through(tmp_path: Path) -> None:
    content = (
        b'{"a":1,"b":"x","n":{"k":[1,2]},"A/b~c":null,"q\\"uo":"1"}\n\n[1]\n{"a":\n{"A":2.50,"z":""}\n\xff{}\n'
        b'{"a":"\x00"}\n{"t":true}'
    )
    read = list(read_jsonl(write(tmp_path, content, "f.jsonl")))
    assert rejects(read) == [(2, "bad_json"), (3, "bad_json"), (5, "invalid_utf8"), (6, "nul_byte")]
    first, second, third = records(read)
    assert (first["A"], first["b"], first["n"], first['q"uo']) == ("1", "x", '{"k":[1,2]}', "1")
    assert (second["_row"], second["A"], second["z"]) == (4, "2.5", None)
    assert third["t"] == "true"


def test_typed_files_keep_types_and_broken_ones_say_so(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    frame.write_parquet(tmp_path / "f.parquet")
    frame.write_avro(tmp_path / "f.avro")
    for name, read in (("f.parquet", read_parquet), ("f.avro", read_avro)):
        good = tmp_path / name
        assert records(list(read(good))) == [{"_row": 1, "a": 1, "b": "x"}, {"_row": 2, "a": 2, "b": None}]
        for cut in (0, 3, good.stat().st_size // 2, good.stat().st_size - 1):
            with pytest.raises(UnreadableFileError):
                list(read(write(tmp_path, good.read_bytes()[:cut], "cut")))


def test_a_truncated_gzip_gives_what_it_holds_and_then_says_so(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000)))
    file = write(tmp_path, whole[: len(whole) // 2], "f.csv.gz")
    batches = read_csv(file, CsvSettings())
    assert len(records([next(batches)])) > 1000
    with pytest.raises(UnreadableFileError) as error:
        next(batches)
    assert error.value.error_class == "truncated_file"


@pytest.mark.parametrize(
    ("content", "error_class"),
    [
        (b"", "empty_file"),
        (b"\n\n", "empty_file"),
        (b"a,A\n1,2\n", "bad_header"),
        (b"a,\n1,2\n", "bad_header"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, error_class: str) -> None:
    with pytest.raises(UnreadableFileError) as error:
        list(read_csv(write(tmp_path, content), CsvSettings()))
    assert error.value.error_class == error_class


def test_a_file_that_disappears_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="put it back"):
        list(read_csv(tmp_path / "gone.csv", CsvSettings()))


def test_a_runaway_quote_costs_its_line_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.files.batch.CHUNK_BYTES", 64)
    monkeypatch.setattr("connectors.files.csv_records.LARGEST_RECORD", 256)
    content = b'a,b\n1,2\n"open,1\n' + b"".join(b"%d,x\n" % n for n in range(200))
    read = list(read_csv(write(tmp_path, content), CsvSettings()))
    assert rejects(read) == [(2, "record_too_long")]
    assert len(records(read)) == 201
    assert isinstance(read[0], RawBatch)
    assert all(isinstance(reject, Reject) for batch in read for reject in batch.rejects)
