"""Which Python, on which processor, runs the functions; the layer is built for the same one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from aws_cdk import aws_lambda as lambda_

_DESCRIBE = (
    "import json, platform, sys;"
    "print(json.dumps(['%d.%d' % sys.version_info[:2], platform.machine()]))"
)
_ARM_MACHINES = ("aarch64", "arm64")


@dataclass(frozen=True, slots=True)
class PythonTarget:
    """A Python version and a processor architecture.

    Attributes
    ----------
    version
        Minor version, such as ``3.13``.
    machine
        The processor as Python and pip name it: ``aarch64`` or ``x86_64``.
    interpreter
        Path of the interpreter this target was read from; none for a Lambda runtime.
    """

    version: str
    machine: str
    interpreter: str | None = None

    @classmethod
    def of_interpreter(cls, interpreter: str) -> PythonTarget:
        """Describe the interpreter at a path: what it says itself decides, not its name.

        Raises
        ------
        OSError, subprocess.CalledProcessError
            There is no such interpreter, or it does not start.
        """
        answer = subprocess.run(  # noqa: S603 - the operator's own interpreter
            [interpreter, "-c", _DESCRIBE], check=True, capture_output=True, text=True
        )
        version, machine = json.loads(answer.stdout)
        return cls(
            version=version,
            machine="aarch64" if machine in _ARM_MACHINES else "x86_64",
            interpreter=interpreter,
        )

    @property
    def runtime(self) -> lambda_.Runtime:
        return lambda_.Runtime(
            f"python{self.version}",
            lambda_.RuntimeFamily.PYTHON,
            supports_snap_start=self.snap_start,
        )

    @property
    def snap_start(self) -> bool:
        """Whether AWS starts this Python from snapshots: 3.12 and later."""
        return tuple(int(part) for part in self.version.split(".")) >= (3, 12)

    @property
    def architecture(self) -> lambda_.Architecture:
        if self.machine == "aarch64":
            return lambda_.Architecture.ARM_64
        return lambda_.Architecture.X86_64

    @property
    def installer_arguments(self) -> tuple[str, ...]:
        """What tells ``uv pip install`` to choose this target's wheels."""
        if self.interpreter is not None:
            return ("--python", self.interpreter)
        # Python 3.12 and later run on Amazon Linux 2023, whose glibc is 2.34.
        platform = f"{self.machine}-manylinux_2_28"
        return (
            *("--python", sys.executable),
            *("--python-platform", platform, "--python-version", self.version),
        )


AWS_LAMBDA = PythonTarget(version="3.13", machine="aarch64")
"""The target of every stage on AWS. SnapStart needs 3.12 or later; Graviton is the cheaper one."""
