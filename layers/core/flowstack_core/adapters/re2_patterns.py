"""Regular expressions in linear time: RE2.

Customers' patterns run on customers' texts. Python's own engine backtracks: a pattern of ten
characters can keep it busy for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MAX_MEMORY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Re2Pattern:
    """A pattern that RE2 has compiled."""

    compiled: Any

    def search(self, text: str) -> bool:
        """Whether the pattern occurs in a text."""
        return self.compiled.search(text) is not None


def compile_re2(pattern: str, options: str) -> Re2Pattern:
    """Compile a pattern with MongoDB's options ``i``, ``m`` and ``s``.

    Raises
    ------
    ValueError
        If RE2 does not take it.
    """
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - only patterns pay for it

    settings = re2.Options()
    settings.max_mem = _MAX_MEMORY_BYTES
    settings.log_errors = False
    flags = "".join(sorted(set(options)))
    try:
        return Re2Pattern(re2.compile(f"(?{flags}){pattern}" if flags else pattern, settings))
    except re2.error as error:
        (reason,) = error.args
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error
    except UnicodeEncodeError as error:
        raise ValueError("must not hold lone surrogates") from error
