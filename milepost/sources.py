"""Sources as `milepost.yaml` describes them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from milepost.rules import known_zone
from schemas.contracts import FACT_TYPES

Format = Literal["csv", "jsonl", "parquet", "avro"]
Stream = Literal["segment", "snowplow", "pixel", "redirect", "json"]
#: Streams that come in through the collector.
COLLECTED = ("segment", "snowplow", "pixel", "redirect")

#: What sources and lookups may be called.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Strict(BaseModel):
    """A part of the settings: what it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CsvSettings(Strict):
    """How a source writes CSV."""

    delimiter: str = Field(default=",", description="The character between two fields.")
    quote: str = Field(default='"', description="The character around a field that holds a delimiter.")
    header: tuple[str, ...] | None = Field(
        default=None, description="Column names, for files whose first line is a record already."
    )

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if len(value.encode()) != 1 or value in "\r\n\0":
            raise ValueError(f"give one ASCII character, not {value!r}")
        return value


class Source(Strict):
    """A source: records of one form, from files, a stream or both, and the mapping that makes facts of them."""

    name: str = Field(exclude=True)
    files: str | None = Field(default=None, description="Folder, file or glob, relative to milepost.yaml.")
    stream: Stream | None = Field(
        default=None,
        description="What comes in as it happens, on the topic `milepost.raw.NAME`: the collector's `segment`, "
        "`snowplow`, `pixel` or `redirect`, or `json` for objects that others send to the topic.",
    )
    app_ids: tuple[str, ...] = Field(
        default=(),
        description="Of a `snowplow` stream: the application ids that are this source; none: every id that no other "
        "source names.",
    )
    mapping: str = Field(description="The SQL file, relative to milepost.yaml.")
    system: str | None = Field(default=None, description="The source system, if it is not the name.")
    fact: str = Field(default="touchpoint", description="The type of fact that the mapping yields.")
    unit: Literal["record", "file"] = Field(
        default="record",
        description="What a mapping sees: one record, or a whole file that it may aggregate.",
    )
    format: Format | None = Field(default=None, description="Format, if the suffix doesn't say it.")
    lookups: dict[str, str] = Field(default_factory=dict, description="Side tables: name → file.")
    identical_rows: Literal["duplicates", "keep"] = Field(
        default="duplicates",
        description="Whether identical rows without a native id are one fact or several.",
    )
    zone: str = Field(default="UTC", description="Time zone of timestamps that do not name one, and of days.")
    csv: CsvSettings = CsvSettings()
    clear_text: tuple[str, ...] = Field(
        default=(), description="Personal namespaces that this source keeps in clear text."
    )

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> Source:
        if self.files is None and self.stream is None:
            raise ValueError("it has neither `files:` nor `stream:`; say where its records come from")
        if self.stream is not None and self.unit == "file":
            raise ValueError("`unit: file` sums up a whole file, and a stream has no end; use `unit: record`")
        if self.stream is not None and self.identical_rows == "keep":
            raise ValueError(
                "a stream may deliver a record twice, so `identical_rows: keep` can't be held to"
            )
        if self.app_ids and self.stream != "snowplow":
            raise ValueError(
                "`app_ids:` tells Snowplow's applications apart; it goes with `stream: snowplow`"
            )
        return self

    @property
    def source_system(self) -> str:
        """The system that facts name as their source."""
        return self.system or self.name

    @field_validator("fact")
    @classmethod
    def _known_fact(cls, value: str) -> str:
        if value not in FACT_TYPES:
            raise ValueError(f"{value!r} is no type of fact; choose one of {', '.join(FACT_TYPES)}")
        return value

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)

    @field_validator("lookups")
    @classmethod
    def _lookup_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not NAME.fullmatch(name) or name.lower() == "raw":
                raise ValueError(f"{name!r} can't name a lookup; use a word other than raw, such as products")
        return value
