"""What roles allow, and no test has a use for: either too much is allowed or too little tested.

It runs last, over what all other tests made the functions do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Stack

EVERY_FILE = {path.name for path in Path(__file__).parent.glob("test_*.py")}


def test_no_function_is_allowed_what_it_has_no_use_for(
    deployed: Stack, request: pytest.FixtureRequest
) -> None:
    permissions = deployed.dynamodb.permissions
    assert permissions is not None
    assert not permissions.refused
    if {item.path.name for item in request.session.items} != EVERY_FILE:
        pytest.skip("only a run of all of these tests tells")
    names = {table: role for role, table in deployed.connection.tables.items()}
    unused = {
        (app, action, names[resource.partition("/")[0]])
        for app, action, resource in permissions.unused()
    }
    assert unused == set()
