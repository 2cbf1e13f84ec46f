"""What the functions' roles allow, beside what the functions were seen to make use of.

Requests to DynamoDB pass the proxy of the tests. All others go to the emulator, which keeps a trail
of them once it is told to; each function names itself in its requests (``AWS_SDK_UA_APP_ID``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import TypeAdapter

from tests.support.emulator import REGION, ROOT
from tests.support.permissions import APP, Grant, Permissions, listed

OBSERVED = ROOT / ".local/permissions"
"""Where what was seen is kept between the tests that see it and the one that judges it."""

_TRAIL = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101"
_SOURCES = ("kms", "sqs", "sns", "events", "s3", "secretsmanager", "ses", "sts")
_PAGE = 50
_BY_RESOURCE = ("sqs",)
"""Where a grant is told apart by its resource; elsewhere a function has one, or only one action."""

_ALLOWED_AS: Mapping[str, Sequence[str]] = {
    "POST.ses": ("SendEmail",),
    "POST.sesv2": ("SendEmail",),
    "SendMessageBatch": ("SendMessage",),
    # The trail goes by method and path, which these share.
    "ListObjects": ("ListBucket", "ListBucketMultipartUploads"),
}
"""The action that a role needs, where it is not called like the request."""


class Trail:
    """The emulator's record of who called what.

    Attributes
    ----------
    used
        What functions called.
    sent
        What they said in these calls: messages of queues, events, mails; not objects of S3.
    """

    def __init__(self, endpoint_url: str) -> None:
        # No environment, no TLS: making a client anew for each request would take longer than it.
        self._http = httpx.Client(base_url=endpoint_url, trust_env=False, verify=False, timeout=30)
        self._since = 0.0
        self.used: set[Grant] = set()
        self.sent: list[bytes] = []

    def begin(self) -> None:
        """Have the emulator record from now on."""
        setting = {"cloudtrail._recording_enabled": "true"}
        self._http.post("/_ministack/config", json=setting).raise_for_status()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def read(self) -> None:
        """Take note of what was called since it was read last: the emulator forgets the oldest."""
        newest = self._since
        for source in _SOURCES:
            for event in self._events(f"{source}.amazonaws.com"):
                newest = max(newest, event["EventTime"])
                self._take(source, json.loads(event["CloudTrailEvent"]))
        self._since = newest

    def _take(self, source: str, event: Mapping[str, Any]) -> None:
        named = APP.search(event["userAgent"])
        if named is None:
            return
        sent = event["requestParameters"] or {}
        if source != "kms":  # which is given what it is to seal
            self.sent.append(json.dumps(sent).encode())
        name = sent.get("Action") or event["eventName"]
        queue = str(sent.get("QueueUrl", "")).rpartition("/")[2] if source in _BY_RESOURCE else ""
        for action in _ALLOWED_AS.get(name, (name,)):
            self.used.add(Grant(named[1].removeprefix("flowstack."), f"{source}:{action}", queue))

    def _events(self, source: str) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        until: float | None = None
        while True:
            page = self._page(source, until)
            fresh = [event for event in page if event["EventId"] not in seen]
            seen.update(event["EventId"] for event in fresh)
            yield from fresh
            if len(page) < _PAGE or not fresh:
                return
            until = min(event["EventTime"] for event in page)

    def _page(self, source: str, until: float | None) -> list[dict[str, Any]]:
        asked: dict[str, Any] = {
            "LookupAttributes": [{"AttributeKey": "EventSource", "AttributeValue": source}],
            "StartTime": self._since,
            **({} if until is None else {"EndTime": until}),
        }
        response = self._http.post(
            "/",
            content=json.dumps(asked),
            headers={
                "X-Amz-Target": f"{_TRAIL}.LookupEvents",
                "Content-Type": "application/x-amz-json-1.1",
                "Authorization": "AWS4-HMAC-SHA256 Credential=test/20261101/"
                f"{REGION}/cloudtrail/aws4_request, SignedHeaders=host, Signature=0",
            },
        )
        events: list[dict[str, Any]] = response.raise_for_status().json()["Events"]
        return events


@dataclass(frozen=True)
class Observed:
    """What one deployed stack's tests saw of its roles.

    Attributes
    ----------
    files
        Which files of tests made use of the stack; none where only some of their tests ran.
    granted, used, refused
        What the roles allow, what the functions did, and what they were refused.
    """

    files: frozenset[str]
    granted: frozenset[Grant]
    used: frozenset[Grant]
    refused: frozenset[str]

    def write(self, name: str) -> None:
        """Leave it for `tests/permissions`, which runs when all stacks are gone."""
        OBSERVED.mkdir(parents=True, exist_ok=True)
        (OBSERVED / f"{name}.json").write_bytes(_DOCUMENT.dump_json(self))

    @classmethod
    def read_all(cls) -> Observed:
        """Return what was seen on all stacks together."""
        seen = [_DOCUMENT.validate_json(path.read_bytes()) for path in OBSERVED.glob("*.json")]
        return cls(
            frozenset().union(*(one.files for one in seen)),
            frozenset().union(*(one.granted for one in seen)),
            frozenset().union(*(one.used for one in seen)),
            frozenset().union(*(one.refused for one in seen)),
        )

    @staticmethod
    def forget_all() -> None:
        """Forget what earlier runs saw."""
        shutil.rmtree(OBSERVED, ignore_errors=True)


_DOCUMENT = TypeAdapter(Observed)


def granted(permissions: Permissions) -> set[Grant]:
    """Return everything that the deployed roles allow."""
    found = {
        grant
        for app, statements in permissions.statements.items()
        for statement in statements
        for grant in statement.grants(app)
    }
    for app, policies in permissions.policies.items():
        for policy in policies:
            for statement in policy["Statement"]:
                if not _through_another_service(statement):
                    found.update(_elsewhere(app, statement))
    return found


def _through_another_service(statement: Mapping[str, Any]) -> bool:
    """Whether AWS alone makes use of it, as DynamoDB does of a table's key."""
    conditions = statement.get("Condition", {})
    return any("kms:ViaService" in tests for tests in conditions.values())


def _elsewhere(app: str, statement: Mapping[str, Any]) -> Iterator[Grant]:
    """Yield what a statement allows elsewhere than on tables."""
    for action in listed(statement["Action"]):
        service = action.partition(":")[0]
        for resource in listed(statement["Resource"]):
            if ":table/" in resource and "/stream/" not in resource:
                continue
            where = resource.rpartition(":")[2] if service in _BY_RESOURCE else ""
            yield Grant(app.removeprefix("flowstack."), action, where)
