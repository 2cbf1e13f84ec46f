"""What stores raise where repeating an operation may help."""

from __future__ import annotations


class StoreContentionError(Exception):
    """A conflict, a throttle or a time-out; the operation may or may not have taken effect."""
