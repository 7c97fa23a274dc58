"""The project: `milepost.yaml`, the sources that it names, and the home in which its data lives."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phonenumbers
import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from connectors.collector.settings import CollectorSettings
from connectors.kafka.settings import KafkaSettings
from milepost.rules import Rules
from milepost.sources import COLLECTED, NAME, CsvSettings, Source, Strict
from milepost.stream_settings import StreamSettings
from schemas.vocabulary import Vocabulary

PROJECT_FILE = "milepost.yaml"
#: For how many days the raw zone is kept, unless a project says otherwise.
RAW_DAYS = 90
DEFAULT_HOME = Path("~/.local/share/milepost")

#: Raised whenever the way in which records become facts changes, so that files are mapped again.
MAPPING_RULES = 1


class ProjectError(Exception):
    """The project's configuration is wrong; the message names the file, the key and the remedy."""


class Project(Strict):
    """A project as `milepost.yaml` describes it."""

    root: Path
    home: Path
    rules: Rules = Rules()
    phone_region: str | None = None
    raw_days: int = Field(default=RAW_DAYS, ge=1, le=36_500)
    stream: StreamSettings = StreamSettings()
    kafka: KafkaSettings | None = None
    collector: CollectorSettings = CollectorSettings()
    sources: dict[str, Source] = Field(default_factory=dict)

    @field_validator("phone_region")
    @classmethod
    def _known_region(cls, value: str | None) -> str | None:
        if value is not None and value not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(f"{value!r} is no country; use two capital letters, such as DE")
        return value

    @property
    def file(self) -> Path:
        """The project's configuration file."""
        return self.root / PROJECT_FILE

    def source(self, name: str) -> Source:
        """Give the source of that name; raises ProjectError that lists the names there are."""
        if name not in self.sources:
            listed = ", ".join(sorted(self.sources)) or "none yet"
            raise ProjectError(f"{self.file}: there is no source {name!r}; sources: {listed}")
        return self.sources[name]

    def mapping_file(self, source: Source) -> Path:
        """Give the path of the source's mapping."""
        return self.root / source.mapping

    def mapping_sql(self, source: Source) -> str:
        """Read the source's mapping; raises ProjectError where it can't be read."""
        return _read(self.mapping_file(source), f"{self.file}: sources.{source.name}.mapping").decode(
            errors="replace"
        )

    def lookup_files(self, source: Source) -> dict[str, Path]:
        """Give the paths of the source's lookups by name."""
        return {name: self.root / path for name, path in sorted(source.lookups.items())}


@dataclass(frozen=True)
class RulesDocument:
    """What the tables depend on, part by part: each part's hash, so that a run can say what changed."""

    mappings: Mapping[str, str]
    vocabulary: str
    settings: str

    @property
    def hash(self) -> str:
        """Hash over all parts."""
        return _hash(
            {"mappings": dict(self.mappings), "vocabulary": self.vocabulary, "settings": self.settings}
        )


def default_home() -> Path:
    """Give `$MILEPOST_HOME`, else `~/.local/share/milepost`."""
    return Path(os.environ.get("MILEPOST_HOME") or DEFAULT_HOME).expanduser().absolute()


def load_project(path: Path | None = None, home: Path | None = None) -> Project:
    """Load a project.

    Args:
        path: `milepost.yaml` or the folder that holds it; the present folder unless given.
        home: where the data lives; `$MILEPOST_HOME`, else `~/.local/share/milepost` unless given.

    Raises:
        ProjectError: the file is missing or wrong. Names the file, the key and the remedy.
    """
    file = Path.cwd() / PROJECT_FILE if path is None else Path(path).absolute()
    if file.is_dir():
        file = file / PROJECT_FILE
    document = _parse(file)
    rest = {key: value for key, value in document.items() if key != "sources"}
    listed = document.get("sources") or {}
    if not isinstance(listed, dict):
        raise ProjectError(f"{file}: sources: give each source a name and its settings, not {listed!r}")
    sources: dict[str, Any] = {}
    for name, settings in listed.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ProjectError(
                f"{file}: sources.{name}: name it with letters, digits and _, such as web_shop"
            )
        if not isinstance(settings, dict):
            raise ProjectError(
                f"{file}: sources.{name}: it needs at least `mapping:`, and `files:` or `stream:`"
            )
        sources[name] = {**settings, "name": name}
    for reserved in ("root", "home"):
        if reserved in rest:
            raise ProjectError(f"{file}: {reserved}: not a setting; the home is set by MILEPOST_HOME")
    try:
        return Project.model_validate(
            {
                **rest,
                "root": file.parent,
                "home": (home or default_home()).absolute(),
                "sources": sources,
                "collector": _collector(file, rest.get("collector"), sources),
            }
        )
    except ValidationError as error:
        raise ProjectError("\n".join(_explain(file, fault) for fault in error.errors())) from error


def _collector(file: Path, settings: object, sources: Mapping[str, Any]) -> dict[str, Any]:
    """Give the collector's settings with the sources that come in through it."""
    given = {} if settings is None else settings
    if not isinstance(given, dict):
        raise ProjectError(f"{file}: collector: give settings such as `port: 8300`, not {given!r}")
    if "sources" in given:
        raise ProjectError(f"{file}: collector.sources: say it at the source: sources.NAME.stream")
    collected: dict[str, Any] = {}
    for name, source in sources.items():
        if source.get("stream") in COLLECTED:
            collected[name] = {"protocol": source["stream"]}
            if source.get("app_ids"):
                collected[name]["app_ids"] = source["app_ids"]
    return {**given, "sources": collected}


def mapping_version(source: Source, project: Project, vocabulary: Vocabulary, key_id: str) -> str:
    """Hash everything that decides which facts a raw record of the source becomes (32 hexadecimal digits).

    That is the mapping's text, its lookups' content, the source's settings, the vocabulary, the default
    region of telephone numbers and the hashing key; where records come from is no part of it.
    """
    settings = source.model_dump(mode="json", exclude={"files", "stream", "app_ids", "mapping", "lookups"})
    lookups = {
        name: hashlib.sha256(_read(path, f"{project.file}: sources.{source.name}.lookups.{name}")).hexdigest()
        for name, path in project.lookup_files(source).items()
    }
    return _hash(
        {
            "rules": MAPPING_RULES,
            "system": source.source_system,
            "sql": project.mapping_sql(source),
            "settings": settings,
            "lookups": lookups,
            "vocabulary": vocabulary.hash,
            "phone_region": project.phone_region,
            "key": key_id,
        }
    )


def rules_document(project: Project, vocabulary: Vocabulary, key_id: str) -> RulesDocument:
    """Give the hash of each part that the tables depend on."""
    return RulesDocument(
        mappings={
            name: mapping_version(source, project, vocabulary, key_id)
            for name, source in sorted(project.sources.items())
        },
        vocabulary=vocabulary.hash,
        settings=project.rules.hash,
    )


def rules_hash(project: Project, vocabulary: Vocabulary, key_id: str) -> str:
    """Hash mappings, vocabulary and settings: when it changes, the tables are rebuilt."""
    return rules_document(project, vocabulary, key_id).hash


def _hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProjectError(f"{key}: can't read {path}: {error.strerror}; correct the path") from error


def _parse(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ProjectError(
            f"{file}: there is no such file; make a project with `milepost init`, or name one with --project"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{file}: can't be read as UTF-8 text: {error}") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProjectError(f"{file}: not valid YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ProjectError(
            f"{file}: it must hold `sources:` and, if you like, `rules:`, `phone_region:` and `raw_days:`"
        )
    return document


def _explain(file: Path, fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{file}: {key}: no such setting; remove it or correct its spelling (it is {_allowed(fault['loc'])})"
    if fault["type"] == "missing":
        return f"{file}: {key}: missing; add it"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{file}: {key}: {message}"


def _allowed(location: tuple[int | str, ...]) -> str:
    """List the settings that may stand where an unknown one stands."""
    model: type[BaseModel] = Project
    hidden = {"root", "home", "name"}
    if location[0] == "sources":
        model = CsvSettings if "csv" in location[2:-1] else Source
    elif location[0] == "rules" and len(location) == 2:
        model = Rules
    return "one of " + ", ".join(sorted(set(model.model_fields) - hidden))
