"""The CDK app: ``cdk deploy --all -c stage=local|dev|prod``."""

from __future__ import annotations

import os
from pathlib import Path

from aws_cdk import App, Environment

from stacks.application import Application
from stacks.sources import Sources

app = App()
Application(
    app,
    Sources(Path(__file__).resolve().parent),
    # Set by the CDK command line where it knows them; without, templates fit any account.
    Environment(
        account=os.environ.get("CDK_DEFAULT_ACCOUNT"), region=os.environ.get("CDK_DEFAULT_REGION")
    ),
)
app.synth()
