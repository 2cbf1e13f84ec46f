"""A function that listens to changes of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources

from stacks.constructs.function import StageFunction
from stacks.constructs.queue import DeadLetters
from stacks.constructs.table import StageTable

RETRIES = 10


def listen(
    function: StageFunction,
    table: StageTable,
    *,
    to: Mapping[str, Any],
    dead_letters: DeadLetters,
) -> None:
    """Have a function called with batches of a table's changes, from the oldest that is kept.

    The function reports which records failed. They are tried again in ever smaller batches, and
    then put among the dead letters.

    Parameters
    ----------
    to
        The pattern of the changes that are of interest; others cost no call.
    """
    function.listens_to = table.name
    function.alias.add_event_source(
        event_sources.DynamoEventSource(
            table.resource,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=100,
            max_batching_window=Duration.seconds(1),
            bisect_batch_on_error=True,
            report_batch_item_failures=True,
            retry_attempts=RETRIES,
            on_failure=event_sources.SqsDlq(dead_letters),
            filters=[lambda_.FilterCriteria.filter(dict(to))],
        )
    )
