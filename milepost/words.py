"""The vocabulary as integer codes: what the columnar rules look kinds, stages and teams up in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.contracts import UNRECOGNISED
from schemas.vocabulary import Kind, Vocabulary

#: The stage code of kinds that have none: it sorts last.
NO_STAGE = 99

Int8Array = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Words:
    """Enum types of the words, and per kind code what the rules ask of a kind.

    A code is the place of a word in the vocabulary. The last one is for a word that the vocabulary no longer has:
    such facts can be read, and the row-level expectations set them aside. Stage codes are 0 to 5, `NO_STAGE` for none.
    """

    vocabulary: Vocabulary
    kind: pl.Enum
    channel: pl.Enum
    team: pl.Enum
    reach: pl.Enum
    stage: pl.Enum
    stage_of_kind: Int8Array
    links_only: BoolArray
    booked: BoolArray
    refunded: BoolArray
    enquiry: BoolArray
    offered: BoolArray
    opportunity_created: BoolArray

    def kinds_where(self, test: Callable[[Kind], bool]) -> list[str]:
        """Name the kinds that pass the test."""
        return [name for name, kind in self.vocabulary.kinds.items() if test(kind)]

    def kind_column(self, name: str, attribute: str) -> pl.Expr:
        """Give an expression that looks an attribute of the column's kind up."""
        mapping = {kind: getattr(entry, attribute) for kind, entry in self.vocabulary.kinds.items()}
        return pl.col(name).replace_strict(mapping, default=None)


def _flags(vocabulary: Vocabulary, test: Callable[[Kind], bool]) -> BoolArray:
    return np.array([*(test(kind) for kind in vocabulary.kinds.values()), False], dtype=np.bool_)


def build_words(vocabulary: Vocabulary) -> Words:
    """Turn a vocabulary into codes."""
    rank = vocabulary.stage_rank
    return Words(
        vocabulary=vocabulary,
        kind=pl.Enum([*vocabulary.kinds, UNRECOGNISED]),
        channel=pl.Enum([*vocabulary.channels, "(none)", UNRECOGNISED]),
        team=pl.Enum([*vocabulary.teams, UNRECOGNISED]),
        reach=pl.Enum([*vocabulary.reaches, UNRECOGNISED]),
        stage=pl.Enum(list(vocabulary.stages)),
        stage_of_kind=np.array(
            [NO_STAGE if kind.stage is None else rank[kind.stage] for kind in vocabulary.kinds.values()]
            + [NO_STAGE],
            dtype=np.int8,
        ),
        links_only=_flags(vocabulary, lambda kind: kind.links_only),
        booked=_flags(vocabulary, lambda kind: kind.amount == "booked"),
        refunded=_flags(vocabulary, lambda kind: kind.amount == "refunded"),
        enquiry=_flags(vocabulary, lambda kind: kind.enquiry),
        offered=_flags(vocabulary, lambda kind: kind.handover == "offered"),
        opportunity_created=_flags(vocabulary, lambda kind: kind.opportunity == "created"),
    )


@lru_cache(maxsize=8)
def _words_by_hash(_hash: str, dump: str) -> Words:
    return build_words(Vocabulary.model_validate_json(dump))


def words_of(vocabulary: Vocabulary) -> Words:
    """Give the codes of a vocabulary, built once for each."""
    return _words_by_hash(vocabulary.hash, vocabulary.model_dump_json())


def words_from_codes(name: str, codes: npt.NDArray[np.int8], words: pl.Enum) -> pl.Series:
    """Turn codes, negative ones or `NO_STAGE` for none, into a series of words."""
    none = pl.Series((codes < 0) | (codes == NO_STAGE))
    physical = pl.Series(name, np.where(none, 0, codes).astype(np.uint8))
    return physical.set(none, None).cat.to(words)


def fitted(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Give a frame the columns and types of a schema; words may stay Enums where it says String."""
    found = frame.schema
    return frame.select(
        pl.col(name)
        if found[name] == kind or (kind == pl.String and isinstance(found[name], pl.Enum))
        else pl.col(name).cast(kind)
        for name, kind in schema.items()
    )
