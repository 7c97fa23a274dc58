"""The vocabulary: stages, teams, reaches, channels, namespaces and kinds, as `vocabulary.yaml` lists them."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from schemas.yaml_files import parse_yaml

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.yaml")

AmountUse = Literal["booked", "expected", "refunded", "none"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class Namespace(_Frozen):
    """A namespace of identifiers; its rank is its place in the vocabulary, the strongest first."""

    label: str
    unique: bool = False
    max_links: int | None = None
    personal: Literal["email", "phone"] | None = None


class Kind(_Frozen):
    """A kind of touchpoint with its defaults and what it means to the state machines."""

    stage: str | None
    channel: str
    team: str
    reach: str
    amount: AmountUse = "none"
    booking_rank: int = 0
    handover: Literal["offered", "accepted", "rejected", "recycled"] | None = None
    opportunity: Literal["created", "changed", "won", "lost"] | None = None
    subscription: Literal["started", "renewed", "cancelled"] | None = None
    enquiry: bool = False
    links_only: bool = False


class Blocklist(_Frozen):
    """Values that never link."""

    values: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @cached_property
    def pattern(self) -> str:
        """One regular expression (RE2 and Python alike) that matches a whole blocked value in lower case."""
        exact = [re.escape(value) for value in self.values]
        return "^(?:" + "|".join([*exact, *self.patterns]) + ")$"

    def blocks(self, value: str) -> bool:
        """Say whether the value never links."""
        return re.match(self.pattern, value.strip().lower()) is not None


class Vocabulary(_Frozen):
    """All words that facts may use, in their order."""

    stages: dict[str, str]
    teams: dict[str, str]
    reaches: dict[str, str]
    channels: dict[str, str]
    namespaces: dict[str, Namespace]
    blocklist: Blocklist
    kinds: dict[str, Kind]

    @model_validator(mode="after")
    def _kinds_use_listed_words(self) -> Vocabulary:
        for name, kind in self.kinds.items():
            for word, listed in (
                (kind.stage, self.stages),
                (kind.channel, self.channels),
                (kind.team, self.teams),
                (kind.reach, self.reaches),
            ):
                if word is not None and word not in listed:
                    raise ValueError(f"kind {name}: {word!r} is not listed in the vocabulary")
        return self

    @cached_property
    def stage_rank(self) -> dict[str, int]:
        """Stage → 0, 1, … in their order."""
        return {stage: rank for rank, stage in enumerate(self.stages)}

    @cached_property
    def namespace_rank(self) -> dict[str, int]:
        """Namespace → 0, 1, …, the strongest first."""
        return {namespace: rank for rank, namespace in enumerate(self.namespaces)}

    @cached_property
    def hash(self) -> str:
        """Hash of everything that the vocabulary says, order included."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def parse_vocabulary(text: str) -> Vocabulary:
    """Build a vocabulary from YAML text; raises `pydantic.ValidationError` where a word is not listed."""
    return Vocabulary.model_validate(parse_yaml(text))


@lru_cache(maxsize=1)
def load_vocabulary() -> Vocabulary:
    """Load the vocabulary that the package ships."""
    return parse_vocabulary(VOCABULARY_FILE.read_text(encoding="utf-8"))
