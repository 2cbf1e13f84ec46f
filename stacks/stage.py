"""What tells one stage from another; nothing else in the stacks asks for a stage's name."""

from __future__ import annotations

from dataclasses import dataclass, field

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_logs as logs

from stacks.python_target import AWS_LAMBDA, PythonTarget

NAMES = ("local", "dev", "prod")

_AT_ONCE_LOCALLY = 4


class UnknownStageError(ValueError):
    """The stage named by CDK context does not exist."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the functions of a local stage find other services than at the emulator itself.

    ``vendors`` stands in for all vendors of models, each below a path of its name.
    """

    dynamodb: str | None = None
    bedrock: str | None = None
    vendors: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One deployment of FlowStack.

    Attributes
    ----------
    name
        ``local``, ``dev`` or ``prod``; part of every stack's name.
    production
        Whether it bills real customers: its data outlives its stacks, and it has no test clocks.
    local
        Whether an emulator runs it.
    python
        What runs its functions.
    endpoints
        Other addresses of AWS services; on a local stage only.
    """

    name: str
    production: bool
    local: bool
    python: PythonTarget
    endpoints: Endpoints = field(default_factory=Endpoints)

    @classmethod
    def named(cls, name: str, *, interpreter: str, endpoints: Endpoints | None = None) -> Stage:
        """Return the stage of a name.

        Parameters
        ----------
        interpreter
            Path of the Python that runs the functions of a local stage.

        Raises
        ------
        UnknownStageError
            There is no stage of that name.
        ValueError
            Other endpoints were given for a stage on AWS.
        """
        if name not in NAMES:
            raise UnknownStageError(f"Unknown stage {name!r}: use one of {', '.join(NAMES)}.")
        local = name == "local"
        if endpoints is not None and endpoints != Endpoints() and not local:
            raise ValueError(f"Stage {name!r} runs on AWS and takes no other endpoints.")
        return cls(
            name=name,
            production=name == "prod",
            local=local,
            python=PythonTarget.of_interpreter(interpreter) if local else AWS_LAMBDA,
            endpoints=endpoints or Endpoints(),
        )

    @property
    def test_clocks(self) -> bool:
        """Whether customers can have a test clock.

        It follows from `production`: no setting switches it on where sessions are billed.
        """
        return not self.production

    @property
    def egress_environment(self) -> dict[str, str]:
        """Tell a function that customers' hosts may be on this machine, and where vendors are.

        It follows from `local`: no setting opens this machine on AWS, and the code looks again.
        """
        if not self.local:
            return {}
        vendors = self.endpoints.vendors
        return {
            "LOOPBACK_EGRESS": "allowed",
            **({} if vendors is None else {"VENDORS_ENDPOINT": vendors}),
        }

    @property
    def webhook_environment(self) -> dict[str, str]:
        """Tell a function to make the attempts of webhooks in a hurry, where nobody has a day.

        As above it follows from `local`, and the code looks again.
        """
        return {"WEBHOOK_RETRY_SECONDS": "1 1 1"} if self.local else {}

    @property
    def snap_start(self) -> bool:
        """Whether published versions start from a snapshot; emulators have none."""
        return self.python.snap_start and not self.local

    @property
    def whole_cloudwatch(self) -> bool:
        """Whether CloudWatch has metric math in alarms, and saved queries; emulators have not."""
        return not self.local

    @property
    def quiet(self) -> Duration:
        """How long the longest request goes on after its customer was stopped.

        A key is believed for a minute, and a deferred request may run for 25. Erasing waits for
        them; on a local stage nobody has the time.
        """
        return Duration.seconds(2) if self.local else Duration.minutes(30)

    def at_once(self, most: int) -> int:
        """Return how much of a queue is worked on at once, where AWS would work on ``most``.

        An emulator starts a process for each, on the processors of one machine.
        """
        return min(most, _AT_ONCE_LOCALLY) if self.local else most

    @property
    def removal_policy(self) -> RemovalPolicy:
        """What happens to data and logs when they leave the stacks."""
        return RemovalPolicy.RETAIN if self.production else RemovalPolicy.DESTROY

    @property
    def log_retention(self) -> logs.RetentionDays:
        if self.production:
            return logs.RetentionDays.THREE_MONTHS
        return logs.RetentionDays.TWO_WEEKS

    def name_of(self, part: str) -> str:
        """Return the name of a part of this stage, such as ``FlowStack-dev-api``."""
        return f"FlowStack-{self.name}-{part}"
