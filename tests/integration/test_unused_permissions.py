"""What roles allow is what the whole of these tests made use of: this one comes last."""

from __future__ import annotations

import pytest

from tests.integration.conftest import WHOLE_SUITE, Stack

EXPLAINED: dict[tuple[str, str, str], str] = {}
"""Permissions that no test makes use of, as function, action and table, with the reason."""


def test_no_role_allows_what_its_function_never_does(
    request: pytest.FixtureRequest, stack: Stack
) -> None:
    if not request.config.stash.get(WHOLE_SUITE, False):
        pytest.skip("only after all the other tests against the deployed stack")
    permissions = stack.dynamodb.permissions
    assert permissions is not None
    assert permissions.refused == []
    unused = {
        (app.removeprefix("flowstack."), action, _table(resource))
        for app, action, resource in permissions.unused()
    }
    assert unused == EXPLAINED.keys()


def _table(resource: str) -> str:
    """Return the name within the stage, without what the deployment put behind it."""
    return resource.removeprefix("FlowStack-local-")
