"""In which form a document is answered: what the header ``Accept`` asks for (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aws_lambda_powertools.event_handler import APIGatewayRestResolver

from flowstack_core.domain.errors import NotAcceptableError

JSON = "application/json"
CSV = "text/csv"
HTML = "text/html"

_TOKEN = r"[\w!#$&^.+*-]+"  # noqa: S105 - a token of HTTP, not of a person
_RANGE = re.compile(rf"\s*({_TOKEN})/({_TOKEN})\s*((?:;[^;]*)*)", re.ASCII)
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Range:
    """One of the ranges of an ``Accept`` header."""

    kind: str
    subtype: str
    quality: float

    @property
    def precision(self) -> int:
        """How exactly it says what it is about: the most exact range that matches decides."""
        return (self.kind != "*") + (self.subtype != "*")

    def matches(self, media_type: str) -> bool:
        """Whether it is about this type."""
        kind, subtype = media_type.split("/")
        return self.kind in {"*", kind} and self.subtype in {"*", subtype}


def accepted(app: APIGatewayRestResolver) -> str:
    """Return the request's ``Accept``; it may be spread over several headers."""
    event = app.current_event
    return ",".join(event.multi_value_headers.get("accept") or [event.headers.get("accept") or ""])


def negotiated(accept: str, offered: Sequence[str]) -> str:
    """Return which of the ``offered`` media types to answer with.

    It is the one of the highest quality, and of several the first that is offered. Who asks for
    nothing gets the first. A range that makes no sense is about nothing.

    Raises
    ------
    NotAcceptableError
        None of them is wanted.
    """
    if not accept.strip():
        return offered[0]
    ranges = list(_ranges(accept))
    best = max(offered, key=lambda media_type: _quality(ranges, media_type))
    if _quality(ranges, best) == 0:
        raise NotAcceptableError(
            "The document does not exist in a form that the request accepts.",
            details={"offered": list(offered), "hint": f"Send Accept: {offered[0]}."},
        )
    return best


def _ranges(accept: str) -> Iterator[_Range]:
    for part in accept.split(","):
        found = _RANGE.fullmatch(part)
        quality = None if found is None else _stated_quality(found[3])
        if found is not None and quality is not None:
            yield _Range(found[1].lower(), found[2].lower(), quality)


def _stated_quality(parameters: str) -> float | None:
    """Return the weight among a range's parameters, 1 if there is none; ``None`` for nonsense."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            return float(value) if _QUALITY.fullmatch(value.strip()) else None
    return 1.0


def _quality(ranges: Sequence[_Range], media_type: str) -> float:
    matching = [one for one in ranges if one.matches(media_type)]
    if not matching:
        return 0.0
    return max(matching, key=lambda one: (one.precision, one.quality)).quality
