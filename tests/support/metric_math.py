"""What CloudWatch makes of metrics: statistics, and the expressions that alarms are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any


def statistic(name: str, values: Sequence[float]) -> float:
    """Compute a statistic of what was measured; a percentile by the nearest rank."""
    match name:
        case "Sum":
            return sum(values)
        case "Average":
            return sum(values) / len(values)
        case "Maximum":
            return max(values)
    rank = ceil(float(name.removeprefix("p")) / 100 * len(values))
    return sorted(values)[rank - 1]


def computed(expression: str, ids: Mapping[str, float | None]) -> float:
    """Compute an expression of IF and FILL; ``None`` stands for a metric without measurements."""

    def fill(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    def choose(condition: bool, then: float, otherwise: float) -> float:
        return then if condition else otherwise

    functions: dict[str, Any] = {"FILL": fill, "IF": choose}
    try:
        return float(eval(expression, {**functions, **ids}))
    except ZeroDivisionError:
        return 0.0  # no number: nothing is compared
