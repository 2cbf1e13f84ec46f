"""Runs the pinned CDK command line against an emulator."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from local_stack import environment
from local_stack.failure import LocalStackError, tail
from local_stack.layout import Layout

# A command line, so relative to the repository, whose path may have spaces.
APP = ".venv/bin/python app.py"
QUIET = ("--ci", "--no-notices", "--no-version-reporting", "--no-color")


class Cdk:
    """The CDK command line, bound to one emulator and one stage.

    Parameters
    ----------
    context
        What `-c name=value` tells the app, the stage included.
    """

    def __init__(self, layout: Layout, endpoint_url: str, context: Mapping[str, str]) -> None:
        self._layout = layout
        self._environment = environment.for_cdk(os.environ, layout, endpoint_url=endpoint_url)
        self._context = dict(context)

    def bootstrap(self) -> None:
        """Create the buckets and roles that a deployment needs; nothing when they are there."""
        target = f"aws://{environment.ACCOUNT}/{environment.REGION}"
        # Without an app: what the account needs does not depend on ours, and reading it is slow.
        self._run("bootstrap", target, "--app", "", log="cdk-bootstrap.log")

    def synthesize(self) -> None:
        """Write the app's templates and bundles to the assembly's folder."""
        told = [part for name, value in self._context.items() for part in ("-c", f"{name}={value}")]
        output = str(self._layout.assembly)
        self._run("synth", "--quiet", "--app", APP, "--output", output, *told, log="cdk-synth.log")

    def deploy(self) -> None:
        """Deploy every stack of the assembly."""
        self._run(
            *("deploy", "--all", "--app", str(self._layout.assembly)),
            *("--require-approval", "never", "--method", "direct", "--concurrency", "4"),
            *("--asset-parallelism", "--progress", "events"),
            log="cdk-deploy.log",
        )

    def _run(self, *arguments: str, log: str) -> None:
        if not self._layout.cdk_command.exists():
            raise LocalStackError(f"{self._layout.cdk_command} is missing: run `make setup`")
        path = self._layout.logs / log
        with path.open("w", encoding="utf-8") as output:
            finished = subprocess.run(
                [str(self._layout.cdk_command), *arguments, *QUIET],
                check=False,
                cwd=self._layout.project,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if finished.returncode != 0:
            raise LocalStackError(f"`cdk {arguments[0]}` failed ({path}):\n{tail(path)}")


def stack_names(assembly: Path) -> list[str]:
    """Return the names of the stacks that an assembly's manifest lists, in its order."""
    manifest = json.loads((assembly / "manifest.json").read_text(encoding="utf-8"))
    return [
        artifact.get("properties", {}).get("stackName", name)
        for name, artifact in manifest["artifacts"].items()
        if artifact["type"] == "aws:cloudformation:stack"
    ]
