"""What `milepost status` says of a home, from before its first publication on."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from milepost.cli import app
from milepost.rules import Rules
from schemas.vocabulary import load_vocabulary
from tests.pipelines.stitching import put, stitch_home
from tests.places import Place
from tests.postgresql import Cluster, needs_postgresql
from tests.strategies import hostile_facts, to_frames
from warehouse.places import places_of

pytestmark = needs_postgresql


def test_a_database_without_a_publication_is_said_to_have_none_yet(postgresql: Cluster, tmp_path) -> None:
    place = Place(tmp_path, postgresql.create_database())
    words = ["status", "--home", str(tmp_path), "--store", str(place.store_url)]
    nothing = CliRunner().invoke(app, words)
    assert isinstance(nothing.exception, Exception)
    assert "there is no published warehouse" in str(nothing.exception)
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
    ready = CliRunner().invoke(app, words)
    assert ready.exit_code == 0
    assert "nothing yet" in ready.stdout
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["publication"] is None
    put(place, to_frames(hostile_facts(3, 60)), 0)
    stitched = stitch_home(place, Rules())
    assert stitched.publication is not None
    published = CliRunner().invoke(app, words)
    assert f"{stitched.publication.facts:,} that stand" in published.stdout
