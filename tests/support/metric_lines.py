"""Metrics as CloudWatch reads them from a log: by name and by each combination of dimensions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping

Dimensions = frozenset[tuple[str, str]]
Measured = Mapping[tuple[str, Dimensions], list[float]]

NAMESPACE = "FlowStack"


def dimensions_of(**values: str) -> Dimensions:
    """Return dimensions that can be looked up."""
    return frozenset(values.items())


def measured(lines: Iterable[str | bytes]) -> Measured:
    """Return what the lines hold; lines that are no metrics are passed over."""
    found: dict[tuple[str, Dimensions], list[float]] = defaultdict(list)
    for line in lines:
        try:
            blob = json.loads(line)
        except ValueError:
            continue
        if not isinstance(blob, dict) or "_aws" not in blob:
            continue
        for directive in blob["_aws"]["CloudWatchMetrics"]:
            assert directive["Namespace"] == NAMESPACE
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, blob[name]) for name in names)
                for metric in directive["Metrics"]:
                    found[metric["Name"], dimensions] += blob[metric["Name"]]
    return dict(found)


def totals(lines: Iterable[str | bytes]) -> dict[str, list[float]]:
    """Return what the lines hold for a whole service, by name."""
    return {
        name: values
        for (name, dimensions), values in measured(lines).items()
        if {each for each, _ in dimensions} == {"service", "stage"}
    }
