"""What a deployment made: physical names by role, and what the emulator left undone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from local_stack import environment

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient

TABLES = ("accounts", "sessions", "usage", "vault")
FUNCTIONS = (
    *("authorizer", "conversation", "worker", "usage", "byok", "billing", "public", "admin"),
    *("expiry", "month_end", "close", "thresholds", "announcements", "rights"),
    *("alerts", "rollups", "webhooks", "vault", "margins"),
)
TABLE_TYPES = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable")


@dataclass(frozen=True)
class Resource:
    """One deployed resource.

    Attributes
    ----------
    logical_id, kind
        Its name and its type in the template.
    physical_id
        Its name in the account.
    properties
        What the template asked for.
    """

    logical_id: str
    kind: str
    physical_id: str
    properties: dict[str, Any]


def read_resources(endpoint_url: str, stack_names: Iterable[str]) -> list[Resource]:
    """Return the resources of the stacks, as CloudFormation knows them."""
    client: CloudFormationClient = _client("cloudformation", endpoint_url)
    resources = []
    for stack_name in stack_names:
        template: Any = client.get_template(StackName=stack_name)["TemplateBody"]
        declared = template["Resources"]
        for found in client.describe_stack_resources(StackName=stack_name)["StackResources"]:
            logical_id = found["LogicalResourceId"]
            resources.append(
                Resource(
                    logical_id=logical_id,
                    kind=found["ResourceType"],
                    physical_id=found.get("PhysicalResourceId", ""),
                    properties=declared.get(logical_id, {}).get("Properties", {}),
                )
            )
    return resources


def by_role(
    resources: Iterable[Resource], kinds: Iterable[str], roles: Iterable[str]
) -> dict[str, str]:
    """Return the physical names of the resources whose logical id starts with a role's name."""
    wanted = [resource for resource in resources if resource.kind in kinds]
    return {
        role: resource.physical_id
        for role in roles
        for resource in wanted
        if resource.logical_id.lower().startswith(role.replace("_", ""))
    }


def api_path(resources: Iterable[Resource]) -> tuple[str, str]:
    """Return the id and the stage name of the REST API."""
    found = list(resources)
    api = next(one for one in found if one.kind == "AWS::ApiGateway::RestApi")
    stage = next(one for one in found if one.kind == "AWS::ApiGateway::Stage")
    return api.physical_id, str(stage.properties["StageName"])


def expiring_tables(resources: Iterable[Resource]) -> dict[str, str]:
    """Return the TTL attribute of each table that its template lets items expire in."""
    return {
        table.physical_id: table.properties["TimeToLiveSpecification"]["AttributeName"]
        for table in resources
        if table.kind in TABLE_TYPES and "TimeToLiveSpecification" in table.properties
    }


def switch_on_expiry(endpoint_url: str, resources: Iterable[Resource]) -> None:
    """Let items expire: the emulator reads a template's TTL but does not act on it."""
    client: DynamoDBClient = _client("dynamodb", endpoint_url)
    for table, attribute in expiring_tables(resources).items():
        client.update_time_to_live(
            TableName=table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
        )


def _client(service: Any, endpoint_url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name=environment.REGION,
        aws_access_key_id=environment.CREDENTIAL,
        aws_secret_access_key=environment.CREDENTIAL,
        config=Config(proxies={}),
    )
