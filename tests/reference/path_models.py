"""The models over all paths: Markov's removal effect and Shapley's value."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from milepost.rules import Rules
from tests.reference.attribution import NO_TOUCH, ONE_CREDIT, credited_touches, path_of, subject
from tests.reference.facts import Row
from tests.reference.money import split_largest_remainder
from tests.reference.touchpoints import fold_order

Channels = tuple[str, ...]
START, CONVERSION, NULL = "(start)", "(conversion)", "(null)"


def channel_credit_rows(touches: list[Row], conversions: list[Row], rules: Rules) -> list[Row]:
    """The table `channel_credits`."""
    failures = failed_paths(touches, conversions)
    rows = []
    for currency in sorted({conversion["currency"] for conversion in conversions}):
        own = [
            (_channels(path_of(conversion, touches, conversions, rules)), conversion["amount_micros"])
            for conversion in conversions
            if conversion["currency"] == currency
        ]
        with_path = [(path, amount) for path, amount in own if path]
        without = [amount for path, amount in own if not path]
        for model in ("markov", "shapley"):
            if model not in rules.models:
                continue
            shared = _markov(with_path, failures) if model == "markov" else _shapley(with_path)
            if without:
                shared[NO_TOUCH] = len(without) * ONE_CREDIT, sum(without)
            rows += [
                {
                    "model": model,
                    "currency": currency,
                    "channel": channel,
                    "credit": Decimal(credit).scaleb(-12),
                    "amount_micros": amount,
                }
                for channel, (credit, amount) in shared.items()
            ]
    return rows


def _channels(path: list[Row]) -> Channels:
    return tuple(touch["channel"] for touch in path)


def failed_paths(touches: list[Row], conversions: list[Row]) -> list[Channels]:
    """The channels of every subject's touches after its last conversion."""
    last = {subject(conversion): fold_order(conversion) for conversion in conversions}
    paths = defaultdict(list)
    for touch in credited_touches(touches):
        if subject(touch) not in last or fold_order(touch) > last[subject(touch)]:
            paths[subject(touch)].append(touch["channel"])
    return [tuple(path) for path in paths.values()]


def _shared_out(
    paths: list[tuple[Channels, int]], counts: dict[str, Fraction], amounts: dict[str, Fraction]
) -> dict[str, tuple[int, int]]:
    """Share the conversions, and their money, over the channels in proportion to the weights."""
    channels = sorted(counts)
    credit = split_largest_remainder(len(paths) * ONE_CREDIT, [counts[channel] for channel in channels])
    money = split_largest_remainder(
        sum(amount for _, amount in paths), [amounts[channel] for channel in channels]
    )
    return {channel: (credit[place], money[place]) for place, channel in enumerate(channels)}


def _shapley(paths: list[tuple[Channels, int]]) -> dict[str, tuple[int, int]]:
    """Each conversion counts equally for each of its distinct channels."""
    counts: dict[str, Fraction] = defaultdict(Fraction)
    amounts: dict[str, Fraction] = defaultdict(Fraction)
    for path, amount in paths:
        for channel in set(path):
            counts[channel] += Fraction(1, len(set(path)))
            amounts[channel] += Fraction(amount, len(set(path)))
    return _shared_out(paths, counts, amounts)


def _markov(paths: list[tuple[Channels, int]], failures: list[Channels]) -> dict[str, tuple[int, int]]:
    """Each channel counts by how many conversions would be lost without it."""
    if not paths:
        return {}
    effects = removal_effects([path for path, _ in paths], failures)
    total = sum(effects.values())
    if total == 0:
        effects = {channel: Fraction(1) for path, _ in paths for channel in path}
        total = Fraction(len(effects))
    # Python rounds halves to even.
    weights = {channel: Fraction(round(effect / total * ONE_CREDIT)) for channel, effect in effects.items()}
    weights = {channel: weight for channel, weight in weights.items() if weight > 0}
    return _shared_out(paths, weights, weights)


def removal_effects(successes: list[Channels], failures: list[Channels]) -> dict[str, Fraction]:
    """1 - P(conversion without the channel) / P(conversion), for every channel of any path."""
    steps: Counter[tuple[str, str]] = Counter()
    for paths, end in ((successes, CONVERSION), (failures, NULL)):
        for path in paths:
            walk = (START, *path, end)
            steps.update(pairwise(walk))
    left: Counter[str] = Counter()
    for (here, _), times in steps.items():
        left[here] += times
    chances = {(here, there): Fraction(times, left[here]) for (here, there), times in steps.items()}
    channels = sorted(set(left) - {START})
    everything = _chance_of_conversion(chances, channels)
    return {
        channel: 1
        - _chance_of_conversion(chances, [other for other in channels if other != channel]) / everything
        for channel in channels
    }


def _chance_of_conversion(chances: dict[tuple[str, str], Fraction], channels: list[str]) -> Fraction:
    """The chance to go from start to conversion through these channels alone.

    For every state x(state) = chance(state → conversion) + Σ chance(state → other) · x(other);
    solved by Gaussian elimination in exact fractions.
    """
    states = [START, *channels]
    zero = Fraction(0)
    lines = [
        [(1 if here == there else 0) - chances.get((here, there), zero) for there in states]
        + [chances.get((here, CONVERSION), zero)]
        for here in states
    ]
    for place in range(len(states)):
        # A channel that is left only towards itself never occurs: every path ends.
        pivot = next(line for line in range(place, len(states)) if lines[line][place] != 0)
        lines[place], lines[pivot] = lines[pivot], lines[place]
        lines[place] = [number / lines[place][place] for number in lines[place]]
        for line in range(len(states)):
            if line != place and lines[line][place] != 0:
                factor = lines[line][place]
                lines[line] = [
                    number - factor * top for number, top in zip(lines[line], lines[place], strict=True)
                ]
    return lines[0][-1]
