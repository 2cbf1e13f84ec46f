"""A Lambda function with everything that all functions of a stage have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Acknowledgment, Duration, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.constructs.acknowledgement import acknowledge
from stacks.constructs.layer import CoreLayer, Layer
from stacks.constructs.table import TableAccess
from stacks.sources import Sources
from stacks.stage import Stage

ALIAS = "live"


class StageFunction(Construct):
    """One function of ``functions/``, called through its alias ``live``.

    It runs on the stage's Python and processor, with the core layer, JSON logs of a limited
    lifetime and X-Ray traces, under a role that holds only what is asked for here. On AWS each
    published version starts from a snapshot.

    Parameters
    ----------
    name
        The folder below ``functions/``; also the service's name in logs and metrics.
    tables
        The tables it may use. It is told the names of these, and of no others.
    statements
        What else it may do.
    more_layers
        What it imports beyond the core and its dependencies.
    environment
        More variables; those set for every function cannot be changed.

    Attributes
    ----------
    listens_to
        The table whose stream it is called with, if any.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        sources: Sources,
        layer: CoreLayer,
        more_layers: Sequence[Layer] = (),
        name: str,
        description: str,
        timeout: Duration,
        memory_mb: int,
        tables: Sequence[TableAccess] = (),
        statements: Sequence[iam.PolicyStatement] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        self.listens_to: str | None = None
        self.function_name = stage.name_of(name.replace("_", "-"))
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=self.log_group_name,
            retention=stage.log_retention,
            removal_policy=stage.removal_policy,
        )
        self.role = self._role(log_group, tables, statements)
        self.function = lambda_.Function(
            self,
            "Function",
            # Known before it is deployed, so that no other stack has to import it.
            function_name=self.function_name,
            description=description,
            runtime=stage.python.runtime,
            architecture=stage.python.architecture,
            code=lambda_.Code.from_asset(
                str(sources.function(name)), exclude=["__pycache__", "*.pyc"]
            ),
            handler="handler.handler",
            layers=[each.version for each in (layer, *more_layers)],
            role=self.role,
            timeout=timeout,
            memory_size=memory_mb,
            environment=_environment(stage, name, tables, environment or {}),
            tracing=lambda_.Tracing.ACTIVE,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=lambda_.ApplicationLogLevel.INFO,
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if stage.snap_start else None,
        )
        Validations.of(self.function).acknowledge(
            Acknowledgment(
                id="Annotation::@aws-cdk/aws-lambda:snapStartRequirePublish",
                reason="The alias publishes a version.",
            )
        )
        acknowledge(
            self.function,
            "L1",
            "The newest Python that the locked dependencies are tested with; on a local stage, the"
            " Python of the emulator.",
        )
        # Only the newest version is kept: AWS charges for every snapshot that is kept ready.
        self.alias = lambda_.Alias(
            self, "Live", alias_name=ALIAS, version=self.function.current_version
        )

    def _role(
        self,
        log_group: logs.ILogGroup,
        tables: Sequence[TableAccess],
        statements: Sequence[iam.PolicyStatement],
    ) -> iam.Role:
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[log_group.log_group_arn],
            )
        )
        for statement in (*(each for table in tables for each in table.statements), *statements):
            role.add_to_policy(statement)
        acknowledge(
            role,
            "IAM5[Resource::*]",
            "AWS restricts neither xray:PutTraceSegments and xray:PutTelemetryRecords nor, for a"
            " function that reads a stream, dynamodb:ListStreams to a resource.",
        )
        return role


def _environment(
    stage: Stage, name: str, tables: Sequence[TableAccess], more: Mapping[str, str]
) -> dict[str, str]:
    """Return a function's variables.

    Raises
    ------
    ValueError
        A caller tries to change a variable that every function has.
    """
    common = {
        "FLOWSTACK_STAGE": stage.name,
        # In the user agent of every request, hence in CloudTrail: who of us asked AWS for it.
        "AWS_SDK_UA_APP_ID": f"flowstack.{name}",
        "POWERTOOLS_SERVICE_NAME": name,
        "POWERTOOLS_METRICS_NAMESPACE": "FlowStack",
        "LOG_LEVEL": "INFO",
        # There are none in the layers, and looking through all packages for some takes its time.
        "PYDANTIC_DISABLE_PLUGINS": "1",
        **{table.environment_name: table.table_name for table in tables},
    }
    if stage.test_clocks:
        common["TEST_CLOCKS"] = "enabled"
    if stage.endpoints.dynamodb is not None:
        common["AWS_ENDPOINT_URL_DYNAMODB"] = stage.endpoints.dynamodb
    if stage.endpoints.bedrock is not None:
        common["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = stage.endpoints.bedrock
    # Switches that decide who can be billed are never left to one function.
    taken = {*common, "TEST_CLOCKS"} & set(more)
    if taken:
        raise ValueError(f"Set for every function alike: {', '.join(sorted(taken))}.")
    return {**common, **more}
