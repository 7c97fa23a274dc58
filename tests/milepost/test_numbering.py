"""Numbers for keys are those of a dictionary, whatever the room that there is at first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from milepost.numbering import Numbering

KEYS = st.lists(st.one_of(st.integers(0, 30), st.integers(0, 2**64 - 1)), max_size=60)


@given(st.integers(0, 70), st.lists(KEYS, max_size=5))
def test_keys_are_numbered_in_the_order_of_arrival(room: int, batches: list[list[int]]) -> None:
    numbering, known = Numbering(room), dict[int, int]()
    for batch in batches:
        keys = np.array(batch, dtype=np.uint64)
        assert numbering.find(keys).tolist() == [known.get(key, -1) for key in batch]
        expected = [known.setdefault(key, len(known)) for key in batch]
        assert numbering.number(keys).tolist() == expected
        assert len(numbering) == len(known)
        assert numbering.keys.tolist() == list(known)
