"""Which failures of SQS are worth another try."""

from __future__ import annotations

from contextlib import AbstractContextManager

from flowstack_core.adapters.contention import contention_by

_THROTTLED = frozenset({"RequestThrottled", "ThrottlingException", "ServiceUnavailable"})


def contention() -> AbstractContextManager[None]:
    """Turn the failures that repeating may mend into `StoreContentionError`."""
    return contention_by(_THROTTLED)
