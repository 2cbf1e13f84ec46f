"""MongoDB's filters: read once, then tried on documents.

The operators mean what the MongoDB Manual says of them ("Query and Projection Operators"). What a
filter may cost is bounded when it is read; how long it may take, by the `Checkpoint` that is
called before each condition is tried.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault_values import (
    MISSING,
    Kind,
    OrderKey,
    Path,
    kind_of,
    order_key,
    path_of,
    values_at,
)

MAX_CONDITIONS = 100
MAX_DEPTH = 16
MAX_LIST = 1_000
MAX_PATH_LENGTH = 512
MAX_PATTERN_LENGTH = 1_000

Checkpoint = Callable[[], None]
"""Called before each condition; raises when there is no time to go on."""

_INT32 = range(-(2**31), 2**31)


class Pattern(Protocol):
    """A compiled regular expression."""

    def search(self, text: str) -> bool:
        """Whether the pattern occurs in a text; takes a time linear in its length."""
        ...


class PatternCompiler(Protocol):
    """Where patterns come from."""

    def __call__(self, pattern: str, options: str) -> Pattern:
        """Compile a pattern.

        Raises
        ------
        ValueError
            If the engine does not take it.
        """
        ...


class Condition(ABC):
    """Something that holds for a document, or does not."""

    @abstractmethod
    def holds(self, document: Any, checkpoint: Checkpoint) -> bool:
        """Whether it holds."""


class ValueTest(ABC):
    """Something that holds for one value, or does not."""

    into_leaf = True
    """Whether the elements of an array are tried too."""

    @abstractmethod
    def holds(self, value: Any, checkpoint: Checkpoint, /) -> bool:
        """Whether it holds."""


# --- conditions on documents ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AllOf(Condition):
    """All conditions hold; true of none."""

    conditions: Sequence[Condition]

    def holds(self, document: Any, checkpoint: Checkpoint) -> bool:
        """Whether it holds."""
        return all(each.holds(document, checkpoint) for each in self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """At least one condition holds."""

    conditions: Sequence[Condition]

    def holds(self, document: Any, checkpoint: Checkpoint) -> bool:
        """Whether it holds."""
        return any(each.holds(document, checkpoint) for each in self.conditions)


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """A condition does not hold."""

    condition: Condition

    def holds(self, document: Any, checkpoint: Checkpoint) -> bool:
        """Whether it holds."""
        return not self.condition.holds(document, checkpoint)


@dataclass(frozen=True, slots=True)
class At(Condition):
    """A test holds for something that a path leads to."""

    path: Path
    test: ValueTest

    def holds(self, document: Any, checkpoint: Checkpoint) -> bool:
        """Whether it holds."""
        checkpoint()
        found = values_at(document, self.path, into_leaf=self.test.into_leaf)
        return any(self.test.holds(value, checkpoint) for value in found)


# --- tests of values -----------------------------------------------------------------------


@dataclass(frozen=True)
class Compared(ValueTest):
    """A value compares to another of its type; never to one of another type."""

    operator: str
    key: OrderKey

    def holds(self, value: Any, _: Checkpoint, /) -> bool:
        """Whether it holds."""
        if kind_of(value) is not self.key[0]:
            return False
        return _COMPARISONS[self.operator](order_key(value), self.key)


@dataclass(frozen=True)
class OneOf(ValueTest):
    """A value is one of several."""

    keys: frozenset[OrderKey]

    def holds(self, value: Any, _: Checkpoint, /) -> bool:
        """Whether it holds."""
        return order_key(value) in self.keys


@dataclass(frozen=True)
class Exists(ValueTest):
    """There is a value, ``null`` included."""

    into_leaf = False

    def holds(self, value: Any, _: Checkpoint, /) -> bool:
        """Whether it holds."""
        return value is not MISSING


@dataclass(frozen=True)
class Matches(ValueTest):
    """A text has a pattern in it."""

    pattern: Pattern

    def holds(self, value: Any, _: Checkpoint, /) -> bool:
        """Whether it holds."""
        return isinstance(value, str) and self.pattern.search(value)


@dataclass(frozen=True)
class OfType(ValueTest):
    """A value is of one of the types."""

    names: frozenset[str]

    def holds(self, value: Any, _: Checkpoint, /) -> bool:
        """Whether it holds."""
        return value is not MISSING and not self.names.isdisjoint(_type_names(value))


@dataclass(frozen=True)
class HasSize(ValueTest):
    """A value is an array of so many elements."""

    size: int
    into_leaf = False

    def holds(self, value: Any, _: Checkpoint, /) -> bool:
        """Whether it holds."""
        return isinstance(value, list) and len(value) == self.size


@dataclass(frozen=True)
class Remains(ValueTest):
    """A number, cut to an integer, leaves a remainder, with the sign of the number."""

    divisor: int
    remainder: int

    def holds(self, value: Any, _: Checkpoint, /) -> bool:
        """Whether it holds."""
        if kind_of(value) is not Kind.NUMBER:
            return False
        whole = int(value)
        left = abs(whole) % abs(self.divisor)
        return (left if whole >= 0 else -left) == self.remainder


@dataclass(frozen=True)
class HasElement(ValueTest):
    """A value is an array with an element for which a condition holds.

    Attributes
    ----------
    of_documents
        Whether the condition is one on documents: only objects, and arrays by their numbers, are
        tried then.
    """

    condition: Condition
    of_documents: bool
    into_leaf = False

    def holds(self, value: Any, checkpoint: Checkpoint, /) -> bool:
        """Whether it holds."""
        if not isinstance(value, list):
            return False
        elements = _documents(value) if self.of_documents else value
        return any(self.condition.holds(element, checkpoint) for element in elements)


def _documents(array: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for element in array:
        if isinstance(element, dict):
            yield element
        elif isinstance(element, list):
            yield {str(number): each for number, each in enumerate(element)}


_COMPARISONS: Mapping[str, Callable[[OrderKey, OrderKey], bool]] = MappingProxyType(
    {
        "$eq": lambda one, other: one == other,
        "$gt": lambda one, other: one > other,
        "$gte": lambda one, other: one >= other,
        "$lt": lambda one, other: one < other,
        "$lte": lambda one, other: one <= other,
    }
)

_TYPES = frozenset({"null", "int", "long", "double", "number", "string", "object", "array", "bool"})


def _type_names(value: Any) -> frozenset[str]:
    match kind_of(value):
        case Kind.NUMBER if isinstance(value, float):
            return frozenset({"number", "double"})
        case Kind.NUMBER:
            return frozenset({"number", "int" if value in _INT32 else "long"})
        case Kind.BOOLEAN:
            return frozenset({"bool"})
        case kind:
            return frozenset({kind.name.lower()})


# --- reading -------------------------------------------------------------------------------


def read_filter(found: Mapping[str, Any], compile_pattern: PatternCompiler) -> Condition:
    """Read a filter.

    Raises
    ------
    InvalidRequestError
        If it is not one, or larger than any that is needed.
    """
    return _Reader(compile_pattern).document_filter(found, "filter")


@dataclass
class _Reader:
    """Reads one filter; counts the conditions it has."""

    compile_pattern: PatternCompiler
    _count: int = 0
    _depth: int = 0

    def document_filter(self, found: Any, place: str) -> Condition:
        if not isinstance(found, Mapping):
            raise _wrong(place, "must be an object")
        with self._deeper(place):
            conditions = [self._entry(name, each, place) for name, each in found.items()]
        return conditions[0] if len(conditions) == 1 else AllOf(conditions)

    @contextmanager
    def _deeper(self, place: str) -> Iterator[None]:
        if self._depth >= MAX_DEPTH:
            raise _wrong(place, f"is nested more than {MAX_DEPTH} levels deep")
        self._depth += 1
        yield
        self._depth -= 1

    def _entry(self, name: str, operand: Any, place: str) -> Condition:
        place = f"{place}.{name}"
        match name:
            case "$and":
                return AllOf(self._filters(operand, place))
            case "$or":
                return AnyOf(self._filters(operand, place))
            case "$nor":
                return Not(AnyOf(self._filters(operand, place)))
        if name.startswith("$"):
            raise _wrong(place, "is no operator that filters have here")
        if len(name) > MAX_PATH_LENGTH:
            raise _wrong(place, f"a path has at most {MAX_PATH_LENGTH} characters")
        return self._field(path_of(name), operand, place)

    def _filters(self, operand: Any, place: str) -> list[Condition]:
        if not isinstance(operand, list) or not operand:
            raise _wrong(place, "must be an array of one filter or more")
        return [self.document_filter(each, f"{place}[{n}]") for n, each in enumerate(operand)]

    def _field(self, path: Path, operand: Any, place: str) -> Condition:
        if not _has_operators(operand, place):
            return self._test(path, Compared("$eq", order_key(operand)))
        return self._operators(path, operand, place)

    def _operators(self, path: Path, operators: Mapping[str, Any], place: str) -> Condition:
        if "$options" in operators and "$regex" not in operators:
            raise _wrong(place, "$options goes with $regex")
        conditions = [
            self._operator(path, name, operators, f"{place}.{name}")
            for name in operators
            if name != "$options"
        ]
        return conditions[0] if len(conditions) == 1 else AllOf(conditions)

    def _operator(
        self, path: Path, name: str, operators: Mapping[str, Any], place: str
    ) -> Condition:
        operand = operators[name]
        match name:
            case "$ne":
                return Not(self._test(path, Compared("$eq", order_key(operand))))
            case "$nin":
                return Not(self._test(path, _one_of(operand, place)))
            case "$exists":
                exists = self._test(path, Exists())
                return exists if operand else Not(exists)
            case "$not":
                if not _has_operators(operand, place):
                    raise _wrong(place, "must be an object of operators")
                with self._deeper(place):
                    return Not(self._operators(path, operand, place))
            case "$all":
                return self._all(path, operand, place)
        return self._test(path, self._value_test(name, operators, place))

    def _value_test(self, name: str, operators: Mapping[str, Any], place: str) -> ValueTest:
        operand = operators[name]
        match name:
            case "$eq" | "$gt" | "$gte" | "$lt" | "$lte":
                return Compared(name, order_key(operand))
            case "$in":
                return _one_of(operand, place)
            case "$regex":
                return self._matches(operand, operators.get("$options", ""), place)
            case "$size":
                return HasSize(_whole(operand, place))
            case "$type":
                return _of_type(operand, place)
            case "$mod":
                return _remains(operand, place)
            case "$elemMatch":
                return self._has_element(operand, place)
        raise _wrong(place, "is no operator that filters have here")

    def _all(self, path: Path, operand: Any, place: str) -> Condition:
        if not isinstance(operand, list):
            raise _wrong(place, "must be an array")
        conditions: list[Condition] = []
        for number, each in enumerate(operand):
            here = f"{place}[{number}]"
            if isinstance(each, dict) and list(each) == ["$elemMatch"]:
                conditions.append(self._operator(path, "$elemMatch", each, here))
            elif _has_operators(each, here):
                raise _wrong(here, "$all takes values, or objects of $elemMatch alone")
            else:
                conditions.append(self._test(path, Compared("$eq", order_key(each))))
        # All of none is found nowhere.
        return AllOf(conditions) if conditions else AnyOf(())

    def _has_element(self, operand: Any, place: str) -> ValueTest:
        if not isinstance(operand, dict):
            raise _wrong(place, "must be an object")
        if operand and all(name.startswith("$") and name not in _LOGICAL for name in operand):
            with self._deeper(place):
                return HasElement(self._operators((), operand, place), of_documents=False)
        return HasElement(self.document_filter(operand, place), of_documents=True)

    def _matches(self, pattern: Any, options: Any, place: str) -> ValueTest:
        if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_LENGTH:
            raise _wrong(place, f"must be a text of at most {MAX_PATTERN_LENGTH} characters")
        if not isinstance(options, str) or not set(options) <= set("ims"):
            raise _wrong(place, "$options has letters of i, m and s")
        try:
            return Matches(self.compile_pattern(pattern, options))
        except ValueError as error:
            raise _wrong(
                place,
                str(error),
                hint="Patterns have RE2's syntax: no look-around, no back-references.",
            ) from error

    def _test(self, path: Path, test: ValueTest) -> Condition:
        self._count += 1
        if self._count > MAX_CONDITIONS:
            raise _wrong("filter", f"has more than {MAX_CONDITIONS} conditions")
        return At(path, test)


_LOGICAL = frozenset({"$and", "$or", "$nor"})


def _has_operators(operand: Any, place: str) -> bool:
    """Whether an operand is an object of operators, and not a value."""
    if not isinstance(operand, dict) or not operand:
        return False
    operators = [name for name in operand if name.startswith("$")]
    if 0 < len(operators) < len(operand):
        raise _wrong(place, "operators cannot stand beside fields")
    return bool(operators)


def _one_of(operand: Any, place: str) -> ValueTest:
    if not isinstance(operand, list) or len(operand) > MAX_LIST:
        raise _wrong(place, f"must be an array of at most {MAX_LIST} values")
    for number, each in enumerate(operand):
        if _has_operators(each, f"{place}[{number}]"):
            raise _wrong(f"{place}[{number}]", "must be a value")
    return OneOf(frozenset(map(order_key, operand)))


def _of_type(operand: Any, place: str) -> ValueTest:
    names = operand if isinstance(operand, list) else [operand]
    if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        raise _wrong(place, f"must be one or more of {', '.join(sorted(_TYPES))}")
    return OfType(frozenset(names))


def _remains(operand: Any, place: str) -> ValueTest:
    if not isinstance(operand, list) or len(operand) != 2:
        raise _wrong(place, "must be [divisor, remainder]")
    divisor, remainder = (_whole(each, place) for each in operand)
    if divisor == 0:
        raise _wrong(place, "the divisor must not be 0")
    return Remains(divisor, remainder)


def _whole(operand: Any, place: str) -> int:
    fraction = isinstance(operand, float) and not operand.is_integer()  # infinity has one, too
    if kind_of(operand) is not Kind.NUMBER or fraction:
        raise _wrong(place, "must be an integer")
    return int(operand)


def _wrong(place: str, problem: str, *, hint: str | None = None) -> InvalidRequestError:
    shown = place[:200]
    details: dict[str, Any] = {"field": shown, "problem": problem}
    if hint is not None:
        details["hint"] = hint
    return InvalidRequestError(f"{shown}: {problem}.", details=details)
