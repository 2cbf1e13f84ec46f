"""All stacks of one stage."""

from __future__ import annotations

import sys

from aws_cdk import App, Environment, Tags

from stacks.api_stack import ApiStack
from stacks.billing_stack import BillingStack
from stacks.data_stack import DataStack
from stacks.lifecycle_stack import LifecycleStack
from stacks.monitoring_stack import MonitoringStack
from stacks.rights_stack import RightsStack
from stacks.sources import Sources
from stacks.stage import Endpoints, Stage
from stacks.webhook_stack import WebhookStack

DEFAULT_STAGE = "dev"


def stage_of(app: App) -> Stage:
    """Return the stage that CDK context asks for.

    Context values: ``stage``; on a local stage also ``python`` (the interpreter that runs the
    functions), ``dynamodb_endpoint``, ``bedrock_endpoint`` and ``vendors_endpoint``.
    """

    def context(name: str) -> str | None:
        value = app.node.try_get_context(name)
        return None if value is None else str(value)

    return Stage.named(
        context("stage") or DEFAULT_STAGE,
        interpreter=context("python") or sys.executable,
        endpoints=Endpoints(
            dynamodb=context("dynamodb_endpoint"),
            bedrock=context("bedrock_endpoint"),
            vendors=context("vendors_endpoint"),
        ),
    )


class Application:
    """The stacks of one stage, in the order in which they are deployed."""

    def __init__(self, app: App, sources: Sources, environment: Environment) -> None:
        stage = stage_of(app)
        self.stage = stage
        self.data = DataStack(app, stage.name_of("data"), stage=stage, env=environment)
        self.webhooks = WebhookStack(
            app,
            stage.name_of("webhooks"),
            stage=stage,
            sources=sources,
            data=self.data,
            env=environment,
        )
        self.billing = BillingStack(
            app,
            stage.name_of("billing"),
            stage=stage,
            sources=sources,
            data=self.data,
            webhooks=self.webhooks,
            env=environment,
        )
        self.rights = RightsStack(
            app,
            stage.name_of("rights"),
            stage=stage,
            sources=sources,
            data=self.data,
            env=environment,
        )
        self.api = ApiStack(
            app,
            stage.name_of("api"),
            stage=stage,
            sources=sources,
            data=self.data,
            billing=self.billing,
            rights=self.rights,
            webhooks=self.webhooks,
            env=environment,
        )
        self.lifecycle = LifecycleStack(
            app,
            stage.name_of("lifecycle"),
            stage=stage,
            sources=sources,
            data=self.data,
            env=environment,
        )
        # The last: it watches whatever it finds in the app.
        self.monitoring = MonitoringStack(
            app,
            stage.name_of("monitoring"),
            stage=stage,
            data=self.data,
            api=self.api,
            billing=self.billing,
            webhooks=self.webhooks,
            env=environment,
        )
        Tags.of(app).add("flowstack:stage", stage.name)
