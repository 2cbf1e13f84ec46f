"""Meters a quota with zae-limiter; run by `tests.bench.quota` in an environment of its own.

Prints one JSON document: what each operation asked DynamoDB for, how long it took, and how many of
racing requests were let in.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import botocore.client
from zae_limiter import Limit, RateLimitExceeded, SyncRateLimiter, SyncRepository

REGION = "us-east-1"


class Requests:
    """Every request of every client, and what the emulator says of its units."""

    def __init__(self) -> None:
        self.made: list[tuple[str, float | None]] = []
        self._send: Callable[..., Any] = botocore.client.BaseClient._make_api_call

    def watch(self) -> None:
        """Begin to look."""
        requests = self

        def send(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            return requests.pass_on(client, operation, parameters)

        botocore.client.BaseClient._make_api_call = send

    def pass_on(self, client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        """Send a request, and note it."""
        units = None
        try:
            answer = self._send(
                client, operation, {**parameters, "ReturnConsumedCapacity": "TOTAL"}
            )
            units = _units(answer.get("ConsumedCapacity"))
        finally:
            self.made.append((operation, units))
        return answer


def _units(found: Any) -> float | None:
    if found is None:
        return None
    parts = found if isinstance(found, list) else [found]
    return sum(float(part.get("CapacityUnits", 0)) for part in parts)


def main(url: str, limit: int, racers: int, repeats: int) -> None:
    """Measure, and print."""
    warnings.simplefilter("ignore")
    made = SyncRepository(
        name="quota", region=REGION, endpoint_url=url, _skip_deprecation_warning=True
    )
    made.create_table()
    made._initialize_version_record()
    made._register_namespace("default")
    limiter = SyncRateLimiter(
        repository=SyncRepository.connect(stack="quota", region=REGION, endpoint_url=url)
    )

    def take(customer: str, most: int) -> bool:
        limits = [Limit.quota("sessions", most, cron="0 0 1 * *")]
        try:
            with limiter.acquire(customer, "agents", {"sessions": 1}, limits=limits):
                return True
        except RateLimitExceeded:
            return False

    take("counted", 10**6)
    take("full", 1)
    requests = Requests()
    requests.watch()
    take("counted", 10**6)
    start, requests.made = requests.made, []
    take("full", 1)
    refusal, requests.made = requests.made, []
    with ThreadPoolExecutor(24) as threads:
        admitted = sum(threads.map(lambda _: take("raced", limit), range(racers)))
    document = {
        "version": version("zae-limiter"),
        "start": start,
        "refusal": refusal,
        "admitted": admitted,
        "start_ms": _times(lambda: take("counted", 10**6), repeats),
        "refusal_ms": _times(lambda: take("full", 1), repeats),
    }
    print(json.dumps(document))


def _times(operation: Callable[[], object], repeats: int) -> list[float]:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        operation()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
