"""The state machine of handovers: what each step does, depending on who has the subject."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

#: The steps and states of the machine; their places are their codes.
STEPS = ("created", "offered", "accepted", "rejected", "recycled")
STATES = ("marketing", "offered", "sales")
_CREATED, _OFFERED = STEPS.index("created"), STEPS.index("offered")
_MARKETING, _ON_OFFER, _SALES = (STATES.index(state) for state in STATES)

#: Step → what it does in each state: the state after it, or the reason why it is ignored.
_TRANSITIONS = {
    "created": ("sales", "already_owned", "already_owned"),
    "offered": ("offered", "already_offered", "owned_by_sales"),
    "accepted": ("nothing_offered", "sales", "owned_by_sales"),
    "rejected": ("nothing_offered", "marketing", "owned_by_sales"),
    "recycled": ("owned_by_marketing", "marketing", "marketing"),
}
REASONS = ("already_owned", "already_offered", "nothing_offered", "owned_by_marketing", "owned_by_sales")
#: The state after a step, or -1 - the place of the reason.
_NEXT = np.array(
    [
        [STATES.index(word) if word in STATES else -1 - REASONS.index(word) for word in _TRANSITIONS[step]]
        for step in STEPS
    ],
    dtype=np.int8,
)
#: The place of what does not exist.
_NONE = -1


@njit(cache=True)
def _fold_codes(
    subject: NDArray[np.uint32],
    step: NDArray[np.int8],
    has_owner: NDArray[np.bool_],
    following: NDArray[np.int8],
) -> tuple[Any, ...]:
    """Run the state machine over steps sorted by subject and fold order.

    Returns arrays, one entry a step: reason (-1 where applied), state after, and rows, -1 where there is
    none: that whose `owner` holds after it, the subject's applied offer before it, the step that answers
    it, the subject's next applied offer.
    """
    count = len(subject)
    reason = np.full(count, -1, np.int8)
    state_after = np.empty(count, np.int8)
    owner_row = np.full(count, -1, np.int64)
    previous_offer = np.full(count, -1, np.int64)
    answer_row = np.full(count, -1, np.int64)
    next_offer = np.full(count, -1, np.int64)
    state, owner, offer = _MARKETING, _NONE, _NONE
    for row in range(count):
        first = row == 0 or subject[row] != subject[row - 1]
        if first:
            state, owner, offer = _MARKETING, _NONE, _NONE
        previous_offer[row] = offer
        after = following[step[row], state]
        if step[row] == _CREATED and not first:
            after = following[_CREATED, _SALES]
        if after < 0:
            reason[row] = -1 - after
        else:
            if has_owner[row]:
                owner = row
            elif (after == _SALES) != (state == _SALES):
                owner = _NONE
            if state == _ON_OFFER:
                answer_row[offer] = row
            if after == _ON_OFFER:
                if offer >= 0:
                    next_offer[offer] = row
                offer = row
            state = after
        state_after[row] = state
        owner_row[row] = owner
    return reason, state_after, owner_row, previous_offer, answer_row, next_offer


def fold_steps(steps: pl.DataFrame) -> pl.DataFrame:
    """Say what each step of the ledger does.

    Args:
        steps: Sorted by subject and position: `subject` (UInt32, numbers of runs), `position`, `step` (of `STEPS`),
            `owner`, `occurred_at`.

    Returns:
        The steps with `status`, `ignored_reason`, `state`, `owner_team`, `owner`, `answered_at`, `answer` as in the
        table `handovers`; `offer` (Boolean: an applied offer); and `previous_offer` and `next_offer` (positions of
        the subject's applied offers before and, of an offer, after it; NULL where there is none).
    """
    codes = steps["step"].replace_strict(STEPS, range(len(STEPS)), return_dtype=pl.Int8)
    reason, state, owner, previous_offer, answer, next_offer = _fold_codes(
        steps["subject"].to_numpy(), codes.to_numpy(), steps["owner"].is_not_null().to_numpy(), _NEXT
    )

    applied = reason < 0
    return steps.with_columns(
        pl.Series("status", np.where(applied, "applied", "ignored")),
        _pick(pl.Series(REASONS), reason).alias("ignored_reason"),
        _pick(pl.Series(STATES), state).alias("state"),
        pl.Series("owner_team", np.where(state == _SALES, "sales", "marketing")),
        _pick(steps["owner"], owner).alias("owner"),
        _pick(steps["occurred_at"], answer).alias("answered_at"),
        _pick(steps["step"], answer).alias("answer"),
        _pick(steps["position"], previous_offer).alias("previous_offer"),
        _pick(steps["position"], next_offer).alias("next_offer"),
        pl.Series("offer", applied & (codes.to_numpy() == _OFFERED)),
    )


def _pick(values: pl.Series, places: NDArray[Any]) -> pl.Series:
    """Give the value at each place, NULL where the place is -1."""
    return values.gather(pl.Series(places, dtype=pl.Int64).replace(_NONE, None))
