"""The templates of a stage, in the words of the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aws_cdk import App

from stacks.application import Application


class Synthesized:
    """A stage's construct tree and the templates made of it."""

    def __init__(self, app: App, application: Application) -> None:
        self.app = app
        self.application = application
        self.templates: dict[str, dict[str, Any]] = {
            stack.stack_name: json.loads(Path(stack.template_full_path).read_text(encoding="utf-8"))
            for stack in app.synth().stacks
        }

    def template(self, part: str) -> dict[str, Any]:
        return self.templates[self.application.stage.name_of(part)]

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a type, by their logical ids."""
        return {
            logical_id: resource.get("Properties", {})
            for template in self.templates.values()
            for logical_id, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    def named(self, kind: str, prefix: str) -> dict[str, Any]:
        """Return the properties of the one resource of a type whose id starts with a prefix."""
        (found,) = (
            properties
            for logical_id, properties in self.resources(kind).items()
            if logical_id.startswith(prefix)
        )
        return found

    def outputs(self) -> dict[str, Any]:
        return {
            name: output["Value"]
            for template in self.templates.values()
            for name, output in template.get("Outputs", {}).items()
        }

    def environment(self, function: str) -> dict[str, Any]:
        found = self.named("AWS::Lambda::Function", f"{function}Function")
        environment: dict[str, Any] = found["Environment"]["Variables"]
        return environment

    def allowed(self) -> Iterator[tuple[str, list[str], list[Any]]]:
        """Yield role, actions and resources of each statement that permits a role something."""
        for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            for policy in self.resources(kind).values():
                for statement in policy["PolicyDocument"]["Statement"]:
                    assert statement["Effect"] == "Allow"
                    for role in policy["Roles"]:
                        yield role["Ref"], *_parts(statement)

    def actions_on(self, function: str, marker: str) -> set[str]:
        """Return what a function's role may do on the resources whose reference has a marker."""
        return {
            action
            for role, actions, resources in self.allowed()
            if role.startswith(f"{function}Role")
            for resource in resources
            if marker in json.dumps(resource)
            for action in actions
        }


def _parts(statement: dict[str, Any]) -> tuple[list[str], list[Any]]:
    return _as_list(statement["Action"]), _as_list(statement["Resource"])


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
