"""What is asked of the API, as values: sync and async clients send the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from flowstack.exceptions import InvalidRequestError

Result_co = TypeVar("Result_co", covariant=True)
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Operation(Generic[Result_co]):
    """One request, and how to read its answer.

    Attributes
    ----------
    body
        Not printed: it may hold credentials.
    read
        Makes the result of the answer's JSON document, or of its text where ``accept`` is no JSON.
    idempotency_key
        The name of this request; one is made up for every request that changes something, so that
        sending it again has the effect of sending it once.
    """

    method: Method
    path: str
    read: Callable[[Any], Result_co]
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    query: Mapping[str, str] | None = None
    accept: str = "application/json"
    idempotency_key: str | None = None
    timeout: float | None = None


def segment(text: str) -> str:
    """Return ``text`` fit to be one segment of a path.

    Raises
    ------
    InvalidRequestError
        It is empty, or would lead elsewhere.
    """
    if text in {"", ".", ".."}:
        raise InvalidRequestError("A name in a path must not be empty.")
    return quote(text, safe="")


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that there is not: a misspelt one would be ignored in silence.

    Raises
    ------
    TypeError
        As Python does for an argument that a function does not take.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(f"There is no option {unknown[0]!r}.")


def present(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not ``None``."""
    return {name: value for name, value in fields.items() if value is not None}
