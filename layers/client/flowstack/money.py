"""US dollars, exact to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

Number = Decimal | int | float


class Money(Decimal):
    """An amount of US dollars.

    It is a `Decimal` that may also meet a float: the float counts as the decimal number that it is
    written as, so ``Money("29.00") - 9.9`` is exactly ``Money("19.10")``.
    """

    @classmethod
    def of(cls, amount: Number | str) -> Self:
        """Return an amount; floats count as what they are written as."""
        return cls(repr(amount)) if isinstance(amount, float) else cls(amount)

    def cents(self) -> Self:
        """Return the amount rounded to whole cents, halves to even."""
        return type(self)(self.quantize(Decimal("0.01")))

    def __add__(self, other: Number) -> Money:
        return self._with(other, Decimal.__add__)

    def __radd__(self, other: Number) -> Money:
        return self._with(other, Decimal.__radd__)

    def __sub__(self, other: Number) -> Money:
        return self._with(other, Decimal.__sub__)

    def __rsub__(self, other: Number) -> Money:
        return self._with(other, Decimal.__rsub__)

    def __mul__(self, other: Number) -> Money:
        return self._with(other, Decimal.__mul__)

    def __rmul__(self, other: Number) -> Money:
        return self._with(other, Decimal.__rmul__)

    def __truediv__(self, other: Number) -> Money:
        return self._with(other, Decimal.__truediv__)

    def _with(self, other: Number, operation: Callable[[Decimal, Any], Any]) -> Money:
        exact = Decimal(repr(other)) if isinstance(other, float) else other
        outcome = operation(self, exact)
        return NotImplemented if outcome is NotImplemented else Money(outcome)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _parsed, serialization=core_schema.plain_serializer_function_ser_schema(float)
        )


def _parsed(value: Any) -> Money:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        raise ValueError("must be an amount of money")  # noqa: TRY004 - pydantic takes this one
    try:
        amount = Money.of(value)
    except ArithmeticError:
        raise ValueError("must be an amount of money") from None
    if not amount.is_finite():
        raise ValueError("must be a finite amount of money")
    return amount.cents()
