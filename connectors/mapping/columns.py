"""The columns that mappings may yield, type of fact by type of fact, and the form that each must have."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from connectors.errors import MappingError
from schemas.contracts import avro_schema
from schemas.vocabulary import Vocabulary

#: text; texts: a text or a list; identifier: `namespace:value`; values: of a namespace, a text or a list;
#: native: a source's own id, which becomes an event_id; the others as they say.
Form = Literal[
    "text", "texts", "identifier", "values", "native", "time", "day", "amount", "integer", "boolean", "json"
]


@dataclass(frozen=True)
class Column:
    """A column that a mapping may yield."""

    name: str
    form: Form
    target: str
    doc: str


_COMMON = (
    Column("native_id", "native", "event_id", "The source's own id of the fact."),
    Column("revision", "integer", "revision", "The source's version of the fact: a number or a time."),
    Column(
        "received_at", "time", "received_at", "When it entered; the file's first registration unless given."
    ),
)

_IDENTIFIER = Column("identifier", "identifier", "identifier", "The person: `namespace:value`.")

_COLUMNS: dict[str, tuple[Column, ...]] = {
    "touchpoint": (
        Column("kind", "text", "kind", "What happened; a row without one is filtered out."),
        Column("occurred_at", "time", "occurred_at", "When it happened."),
        Column(
            "device_occurred_at", "time", "device_occurred_at", "The uncorrected time of the sender's clock."
        ),
        Column("channel", "text", "channel", "The channel, if it is not the kind's."),
        Column("team", "text", "team", "The team, if it is not the kind's."),
        Column("reach", "text", "reach", "The reach, if it is not the kind's."),
        Column("account", "text", "account_id", "The organisation."),
        Column("opportunity", "text", "opportunity_id", "The possible deal."),
        Column("deal", "text", "deal_id", "The deal that an amount books, one id over all systems."),
        Column("booking_number", "integer", "booking_number", "Which booking of the deal this is."),
        Column("subscription", "text", "subscription_id", "The subscription."),
        Column(
            "conversion_native_id", "native", "conversion_id", "Of a refund: the conversion's native id here."
        ),
        Column("conversion_id", "text", "conversion_id", "Of a refund: the conversion's event_id."),
        Column("campaign", "text", "campaign_id", "The campaign."),
        Column("content", "text", "content", "What was seen, said or asked."),
        Column("owner", "text", "owner", "The person of the team who holds it."),
        Column("reason", "text", "reason", "Why."),
        Column("opportunity_stage", "text", "opportunity_stage", "The opportunity's stage in the source."),
        Column("amount", "amount", "amount_micros", "Money: a DECIMAL or an integer."),
        Column("currency", "text", "currency", "ISO 4217 code."),
        Column("products", "texts", "products", "What was bought."),
        Column("score_percent", "integer", "score_percent", "A rating from 0 to 100."),
        Column("properties", "json", "properties", "Whatever else the source says: JSON or a struct."),
    ),
    "spend": (
        Column("campaign", "text", "campaign_id", "The campaign."),
        Column("channel", "text", "channel", "Where it was spent."),
        Column("day", "day", "day", "The date in the source's zone."),
        Column("amount", "amount", "amount_micros", "Money: a DECIMAL or an integer."),
        Column("currency", "text", "currency", "ISO 4217 code."),
    ),
    "exposure": (
        Column("campaign", "text", "campaign_id", "The campaign."),
        Column("channel", "text", "channel", "Where it was shown."),
        Column("day", "day", "day", "The date in the source's zone."),
        Column("count", "integer", "count", "How many were reached."),
    ),
    "identity_link": (
        Column("a", "identifier", "a", "One identifier: `namespace:value`."),
        Column("b", "identifier", "b", "The other one."),
        Column("seen_at", "time", "seen_at", "When the link was seen."),
        Column("confirmed", "boolean", "confirmed", "A person confirmed it."),
    ),
    "profile": (
        Column("account", "text", "account", "Whose attribute it is: an account."),
        _IDENTIFIER,
        Column("attribute", "text", "attribute", "Such as role, segment, name, key_contact."),
        Column("value", "text", "value", "The value; NULL ends it."),
        Column("valid_from", "time", "valid_from", "From when it holds."),
    ),
    "campaign": (
        Column("campaign", "text", "campaign_id", "The campaign."),
        Column("name", "text", "name", "Its name."),
        Column("channel", "text", "channel", "Its main channel."),
        Column("promise", "text", "promise", "What it promised."),
        Column("starts_on", "day", "starts_on", "Its first day."),
        Column("ends_on", "day", "ends_on", "Its last day."),
    ),
    "consent": (
        _IDENTIFIER,
        Column("purpose", "text", "purpose", "What for."),
        Column("granted", "boolean", "granted", "Granted, or withdrawn."),
        Column("decided_at", "time", "decided_at", "When."),
        Column("means_erasure", "boolean", "means_erasure", "The withdrawal asks for erasure as well."),
    ),
    "erasure": (
        _IDENTIFIER,
        Column("erased_at", "time", "erased_at", "Everything up to this time is erased."),
        Column("reason", "text", "reason", "Who asked and why; no personal data."),
    ),
    "retraction": (
        Column("target_native_id", "native", "target_event_id", "The fact's native id in this system."),
        Column("target_event_id", "text", "target_event_id", "The fact's event_id."),
        Column("link_a", "identifier", "link_a", "Or a link: one of its identifiers, `namespace:value`."),
        Column("link_b", "identifier", "link_b", "The other one."),
        Column("retracted_at", "time", "retracted_at", "When it was retracted."),
        Column("reason", "text", "reason", "Why."),
    ),
}

#: The types of fact whose person may be given as a namespace's column.
_WITH_NAMESPACES = ("touchpoint", "identity_link", "profile", "consent", "erasure")


@lru_cache(maxsize=32)
def mapping_columns(fact: str, vocabulary_namespaces: tuple[str, ...]) -> dict[str, Column]:
    """Give the columns that a mapping to this type of fact may yield, by name.

    A column may also be called as the contract calls it (`campaign_id` for `campaign`).
    """
    listed = {column.name: column for column in (*_COMMON, *_COLUMNS[fact])}
    contract = {field["name"] for field in avro_schema(fact)["fields"]}
    for column in tuple(listed.values()):
        if column.target in contract and column.form not in ("native", "amount"):
            listed.setdefault(column.target, column)
    if fact in _WITH_NAMESPACES:
        for namespace in vocabulary_namespaces:
            if namespace not in listed:
                listed[namespace] = Column(namespace, "values", namespace, "Identifiers of this namespace.")
    return listed


def choose_columns(
    file: str, fact: str, yielded: list[tuple[str, str]], vocabulary: Vocabulary
) -> list[tuple[Column, str, str]]:
    """Find the column that each yielded one is: (column, its name in the mapping, its DuckDB type).

    Raises:
        MappingError: a name is not known, or two say the same.
    """
    known = mapping_columns(fact, tuple(vocabulary.namespaces))
    chosen: list[tuple[Column, str, str]] = []
    taken: dict[str, str] = {}
    for name, kind in yielded:
        column = known.get(name.lower())
        if column is None:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"a {fact} has {', '.join(known)}"
            raise MappingError(f"{file}: {name}: not a column of a {fact}; {hint}")
        if column.name in taken:
            raise MappingError(f"{file}: {name} and {taken[column.name]} say the same; keep one")
        taken[column.name] = name
        chosen.append((column, name, kind))
    return chosen
