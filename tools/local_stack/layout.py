"""Where a local stack keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one local stack.

    Attributes
    ----------
    project
        Root of the repository.
    directory
        The stack's own folder: two stacks with different folders do not meet.
    """

    project: Path
    directory: Path

    @property
    def connection(self) -> Path:
        return self.directory / "stack.json"

    @property
    def run_lock(self) -> Path:
        """Held by the command that is starting or stopping the stack."""
        return self.directory / "command.lock"

    @property
    def emulator_lock(self) -> Path:
        """Held by the emulator's process as long as it lives."""
        return self.directory / "emulator.lock"

    @property
    def emulator_record(self) -> Path:
        return self.directory / "emulator.json"

    @property
    def emulator_log(self) -> Path:
        return self.logs / "emulator.log"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def scratch(self) -> Path:
        """What the emulator unpacks and writes; emptied when it stops."""
        return self.directory / "tmp"

    @property
    def certificates(self) -> Path:
        return self.directory / "tls"

    @property
    def assembly(self) -> Path:
        """The synthesized app."""
        return self.directory / "cdk.out"

    @property
    def cdk_home(self) -> Path:
        return self.directory / "cdk"

    @property
    def emulator_python(self) -> Path:
        """The interpreter of the emulator, and of the functions it runs."""
        return self.project / ".local" / "emulator-venv" / "bin" / "python"

    @property
    def cdk_command(self) -> Path:
        return self.project / "node_modules" / ".bin" / "cdk"

    def prepare(self) -> None:
        """Create the folders that others write into."""
        for folder in (self.directory, self.logs, self.scratch, self.cdk_home):
            folder.mkdir(parents=True, exist_ok=True)
