"""What the deployed roles allow at DynamoDB, enforced where the emulator does not.

Each function names itself in its requests (``AWS_SDK_UA_APP_ID``). The policies are those that the
deployment gave its role, evaluated as IAM evaluates them, as far as the stacks make use of it:
actions, resources, and conditions on the leading keys. See "Actions, resources, and condition keys
for Amazon DynamoDB" in the Service Authorization Reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any
from urllib.parse import unquote

from tests.support.emulator import aws_client

APP = re.compile(r"\bapp/(flowstack\.\w+)")
_DEPLOYED_TABLE = re.compile(
    r"FlowStack-local-data-([A-Z][a-z]+)Table[0-9A-F]+(?:-[0-9A-Z]+)?(/index/.+)?"
)
_LEADING_KEYS = "dynamodb:LeadingKeys"
_IN_TRANSACTIONS = {
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


@dataclass(frozen=True)
class Access:
    """One thing that a request does: an action on a table or index, in a partition."""

    action: str
    resource: str
    leading_key: str | None = None


@dataclass(frozen=True)
class Statement:
    """One statement of a role's policies that allows something at DynamoDB."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    leading_keys: tuple[str, ...] | None

    def allows(self, access: Access) -> bool:
        """Whether it allows an access."""
        return (
            access.action in self.actions
            and any(r.endswith(f":table/{access.resource}") for r in self.resources)
            and (
                self.leading_keys is None
                or access.leading_key is None
                or any(fnmatchcase(access.leading_key, key) for key in self.leading_keys)
            )
        )

    def grant(self, app: str, access: Access) -> Grant:
        """Return which of its grants an access makes use of."""
        return self._grant(app, access.action, access.resource)

    def grants(self, app: str) -> Iterator[Grant]:
        """Yield everything that it allows a function."""
        for action in self.actions:
            for resource in self.resources:
                if "/stream/" not in resource:
                    yield self._grant(app, action, resource.partition(":table/")[2])

    def _grant(self, app: str, action: str, resource: str) -> Grant:
        partitions = "" if self.leading_keys is None else f"[{' '.join(self.leading_keys)}]"
        where = table_name(resource) + partitions
        return Grant(app.removeprefix("flowstack."), f"dynamodb:{action}", where)


def table_name(resource: str) -> str:
    """Return the name within the stage of a deployed table, or of its index."""
    named = _DEPLOYED_TABLE.fullmatch(resource)
    assert named is not None, resource
    return named[1].lower() + (named[2] or "")


@dataclass(frozen=True, order=True)
class Grant:
    """One action that a function's role allows on one resource.

    Attributes
    ----------
    function
        Its name, as in ``functions/``.
    resource
        A table, with the partitions that it is about if it is not all, an index, a queue; empty
        where only the action is looked at.
    """

    function: str
    action: str
    resource: str = ""


@dataclass
class Permissions:
    """The policies of all functions, what they made use of, and what they were refused."""

    policies: Mapping[str, Sequence[Any]]
    statements: Mapping[str, Sequence[Statement]]
    refused: list[tuple[str, Access]] = field(default_factory=list)
    used: set[Grant] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def refusal(self, user_agent: str, operation: str, body: bytes) -> str | None:
        """Return what a function is not allowed to do that it asks for."""
        named = APP.search(user_agent)
        if named is None:  # a test itself
            return None
        app = named[1]
        for access in accesses_of(operation, json.loads(body)):
            allowing = [each for each in self.statements.get(app, ()) if each.allows(access)]
            with self._lock:
                self.used.update(each.grant(app, access) for each in allowing)
                if not allowing:
                    self.refused.append((app, access))
            if not allowing:
                return f"{app} is not authorized to perform dynamodb:{access.action} on {access}"
        return None


def deployed_permissions(endpoint_url: str) -> Permissions:
    """Read what every deployed function's role allows."""
    policies = _deployed_policies(endpoint_url)
    return Permissions(
        policies,
        {
            app: [each for policy in of_role for each in _statements(policy)]
            for app, of_role in policies.items()
        },
    )


def _deployed_policies(endpoint_url: str) -> Mapping[str, Sequence[Any]]:
    """Return the policies of every deployed function's role, by what it calls itself."""

    def client(service: str) -> Any:
        return aws_client(service, endpoint_url)

    functions, iam = client("lambda"), client("iam")
    found: dict[str, list[Any]] = {}
    for page in functions.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            app = function["Environment"]["Variables"]["AWS_SDK_UA_APP_ID"]
            role = function["Role"].rpartition("/")[2]
            names = iam.list_role_policies(RoleName=role)["PolicyNames"]
            documents = [
                iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                for name in names
            ]
            found[app] = [
                json.loads(unquote(one)) if isinstance(one, str) else one for one in documents
            ]
    return found


def _statements(policy: Any) -> Iterator[Statement]:
    for statement in policy["Statement"]:
        actions = [
            action.partition(":")[2]
            for action in listed(statement["Action"])
            if action.startswith("dynamodb:")
        ]
        if not actions:
            continue
        assert statement["Effect"] == "Allow"
        resources = tuple(listed(statement["Resource"]))
        if not any(":table/" in each for each in resources):
            continue
        yield Statement(tuple(actions), resources, _leading_keys(statement.get("Condition", {})))


def _leading_keys(conditions: Mapping[str, Any]) -> tuple[str, ...] | None:
    keys = None
    for operator, tests in conditions.items():
        for name, values in tests.items():
            assert name == _LEADING_KEYS, f"{name} is not evaluated here"
            assert operator in {"ForAllValues:StringLike", "ForAllValues:StringEquals"}
            keys = tuple(listed(values))
    return keys


def listed(value: Any) -> list[str]:
    """Return the values of a policy's element, which may be one or several."""
    return [value] if isinstance(value, str) else list(value)


def accesses_of(operation: str, body: dict[str, Any]) -> Iterator[Access]:
    """Yield what a request does, as IAM is asked for it."""
    if operation in _OF_SEVERAL:
        yield from _OF_SEVERAL[operation](body)
    elif operation == "Query":
        index = body.get("IndexName")
        resource = body["TableName"] + (f"/index/{index}" if index else "")
        yield Access(operation, resource, _partition_asked_for(body))
    else:
        key = body.get("Item") or body["Key"]
        yield Access(operation, body["TableName"], key["pk"]["S"])


def _of_transaction(body: Mapping[str, Any]) -> Iterator[Access]:
    for part in body["TransactItems"]:
        ((kind, one),) = part.items()
        yield from accesses_of(_IN_TRANSACTIONS[kind], one)


def _of_batch_get(body: Mapping[str, Any]) -> Iterator[Access]:
    for table, wanted in body["RequestItems"].items():
        for key in wanted["Keys"]:
            yield Access("BatchGetItem", table, key["pk"]["S"])


def _of_batch_write(body: Mapping[str, Any]) -> Iterator[Access]:
    for table, writes in body["RequestItems"].items():
        for write in writes:
            item = write.get("PutRequest", {}).get("Item") or write["DeleteRequest"]["Key"]
            yield Access("BatchWriteItem", table, item["pk"]["S"])


_OF_SEVERAL: Mapping[str, Callable[[dict[str, Any]], Iterator[Access]]] = {
    "TransactWriteItems": _of_transaction,
    "TransactGetItems": _of_transaction,
    "BatchGetItem": _of_batch_get,
    "BatchWriteItem": _of_batch_write,
}


def _partition_asked_for(body: Mapping[str, Any]) -> str | None:
    first = re.match(r"\s*[#\w]+ = (:\w+)", body["KeyConditionExpression"])
    assert first is not None, body["KeyConditionExpression"]
    text: str | None = body["ExpressionAttributeValues"][first[1]].get("S")
    return text
