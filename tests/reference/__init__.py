"""The rules row by row in plain Python: slow, obvious, and what the fast heart is held equal to."""

from __future__ import annotations

from milepost.rules import Rules
from schemas.contracts import FACT_TYPES
from schemas.tables import load_tables
from schemas.vocabulary import Vocabulary
from tests.reference.attribution import credit_rows
from tests.reference.conversions import conversion_rows, mark_bookings, refund
from tests.reference.erasure import erase
from tests.reference.facts import Facts, Row, judge_again, retract, standing
from tests.reference.handovers import handover_rows
from tests.reference.identity import identify, identity_rows, known, sightings
from tests.reference.money import money_rows
from tests.reference.opportunities import opportunity_rows
from tests.reference.path_models import channel_credit_rows
from tests.reference.spend import spend_rows
from tests.reference.stages import account_rows, journey_rows, stage_entry_rows
from tests.reference.touchpoints import campaign_rows, consent_rows, profile_rows, touchpoints_in_use

Tables = dict[str, list[Row]]


def reference_stitch(facts: Facts, vocabulary: Vocabulary, rules: Rules) -> Tables:
    """Give every base table of the digest, its rows sorted by key, from all deliveries of all facts."""
    stand = {kind: standing(facts.get(kind, [])) for kind in FACT_TYPES}
    left, retracted_pairs, retractions = retract(stand)
    left, erasures = erase(left, retracted_pairs, vocabulary)
    left, retracted_pairs, retractions = judge_again(left, retracted_pairs, retractions)
    people, links = left["touchpoint"], left["identity_link"]

    identity = identify(sightings(people, links, retracted_pairs, vocabulary), vocabulary)
    spans = known(people, links, left["profile"], left["consent"], vocabulary)
    identities, aliases = identity_rows(spans, identity, vocabulary)

    touches = touchpoints_in_use(people, left["consent"], identity, vocabulary, rules)
    mark_bookings(touches)
    conversions = conversion_rows(touches)
    unmatched_refunds = refund(touches, conversions)
    nets = {conversion["conversion_id"]: conversion["net_micros"] for conversion in conversions}

    profiles = profile_rows(left["profile"], identity, vocabulary)
    journeys = journey_rows(touches, nets, vocabulary)
    spend, spend_shares = spend_rows(left["spend"], touches, rules)
    handovers, costs = handover_rows(touches, spend_shares, rules)
    return _tables(
        touchpoints=touches,
        journeys=journeys,
        accounts=account_rows(touches, journeys, profiles, nets, vocabulary),
        stage_entries=stage_entry_rows(touches, vocabulary),
        conversions=conversions,
        credits=credit_rows(touches, conversions, rules),
        channel_credits=channel_credit_rows(touches, conversions, rules),
        unmatched_refunds=unmatched_refunds,
        handovers=handovers,
        opportunities=opportunity_rows(touches, conversions, handovers),
        identities=identities,
        identity_links=identity.links,
        customer_aliases=aliases,
        money=money_rows(touches, conversions, costs),
        spend=spend,
        spend_shares=spend_shares,
        exposures=left["exposure"],
        profiles=profiles,
        campaigns=campaign_rows(left["campaign"]),
        consents=consent_rows(left["consent"], identity, vocabulary),
        erasures=erasures,
        retractions=retractions,
    )


def _tables(**rows: list[Row]) -> Tables:
    """Keep the columns that `tables.yaml` lists, in its order, the rows sorted by key."""
    shapes = load_tables()
    tables = {}
    for name, found in rows.items():
        columns = [column.name for column in shapes[name].columns]
        kept = [{column: row[column] for column in columns} for row in found]
        tables[name] = sorted(kept, key=lambda row: tuple(row[column] for column in shapes[name].key))
    return tables
