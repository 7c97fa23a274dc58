"""The stage fold of one customer, event by event, as one would write it for a stream processor; it imports nothing.

A state is a list: stage now (-1 for none), furthest stage, first conversion (microseconds, -1 for none), first and last
touch, touches.
"""

from __future__ import annotations

from typing import Any

CONVERSION, RETAIN, GROW = 3, 4, 5
#: What an event's `conversion` may be.
NO_CONVERSION, RETAINS, GROWS = 0, 1, 2

State = list[int]


def fold(state: State | None, event: dict[str, Any]) -> State:
    """Give the state after an event: `at` (microseconds), `stage` (0 to 5, -1 for none), `conversion`."""
    at, stage = event["at"], event["stage"]
    if state is None:
        state = [-1, -1, -1, at, at, 0]
    current, furthest, converted_at, first_at, _, touches = state
    target = -1
    if event["conversion"] != NO_CONVERSION:
        if converted_at < 0:
            converted_at, target = at, CONVERSION
        else:
            target = GROW if event["conversion"] == GROWS else RETAIN
    elif converted_at < 0:
        if current < stage <= CONVERSION:
            target = stage
    elif stage in (RETAIN, GROW):
        target = stage
    if target >= 0:
        current, furthest = target, max(furthest, target)
    return [current, furthest, converted_at, first_at, at, touches + 1]


def checksum(states: dict[str, State]) -> list[int]:
    """Sum states up, so that two programs' can be compared: customers, then each number of a state."""
    return [len(states), *(sum(state[place] for state in states.values()) for place in range(6))]
