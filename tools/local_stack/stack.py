"""A local stack: an emulator with the app deployed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from local_stack import certificate, deployed, environment
from local_stack.cdk import Cdk, stack_names
from local_stack.connection import Connection
from local_stack.emulator import Emulator, RunningEmulator
from local_stack.failure import LocalStackError
from local_stack.files import exclusive
from local_stack.layout import Layout
from local_stack.ports import NoFreePortError, first_free
from local_stack.progress import Progress, SilentProgress

PROJECT = Path(__file__).resolve().parents[2]
STAGE = "local"
DEFAULT_PORT = 4566


class LocalStack:
    """Starts, deploys to and ends one emulator.

    Two stacks with different folders run side by side, each on its own ports.

    Parameters
    ----------
    directory
        Folder of its files; `.local` of the repository unless told.
    port
        The port wanted for HTTP; the next free one is taken when another program has it.
    context
        More CDK context for the app, such as `dynamodb_endpoint`.
    progress
        Where the steps are shown; nowhere unless told.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int = DEFAULT_PORT,
        context: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        folder = (directory or PROJECT / ".local").resolve()
        self.layout = Layout(project=PROJECT, directory=folder)
        self._emulator = Emulator(self.layout)
        self._port = port
        self._context = {**(context or {}), "stage": STAGE}
        self._progress = progress or SilentProgress()

    def up(self) -> Connection:
        """Start the emulator, deploy the app and write the connection file.

        Safe to repeat: a healthy emulator and its data are kept, and the app is deployed again.

        Raises
        ------
        LocalStackError
            When a step fails, or another command works on the same folder.
        """
        running = self.start()
        return self.deploy(running)

    def start(self) -> RunningEmulator:
        """Return the healthy emulator of this folder, started if need be."""
        with self._alone():
            settings = environment.emulator_settings(os.environ)
            running = self._emulator.find()
            if running is not None:
                if running.settings == settings and running.answers():
                    self._progress.note(f"The emulator already runs on port {running.port}.")
                    return running
                with self._progress.step("Ending the emulator that ran before"):
                    self._emulator.stop()
            self._forget()
            return self._start(settings)

    def deploy(
        self, running: RunningEmulator, context: Mapping[str, str] | None = None
    ) -> Connection:
        """Deploy the app to a running emulator and write the connection file.

        Parameters
        ----------
        context
            Still more CDK context: what is known only once the emulator runs.
        """
        cdk = Cdk(self.layout, running.endpoint_url, {**self._context, **(context or {})})
        with self._alone():
            with (
                self._progress.step("Reading the app and preparing the account"),
                ThreadPoolExecutor(max_workers=1) as pool,
            ):
                bootstrapped = pool.submit(cdk.bootstrap)
                cdk.synthesize()
                bootstrapped.result()
            with self._progress.step("Deploying the stacks"):
                cdk.deploy()
            with self._progress.step("Switching on the expiry of items"):
                resources = deployed.read_resources(
                    running.endpoint_url, stack_names(self.layout.assembly)
                )
                deployed.switch_on_expiry(running.endpoint_url, resources)
            connection = self._connect(running, resources)
            connection.write(self.layout.connection)
            return connection

    def down(self) -> bool:
        """End the emulator and all it started; return whether one was running.

        Safe to repeat. What customers and sessions there were is gone: the emulator keeps its
        data in memory.
        """
        if not self.layout.directory.exists():
            return False
        with self._alone():
            self._forget()
            return self._emulator.stop()

    def running(self) -> RunningEmulator | None:
        """Return the emulator of this folder, or None when none runs."""
        return self._emulator.find()

    def connection(self) -> Connection | None:
        """Return how to reach the stack that runs, or None when none does."""
        if self.running() is None:
            return None
        return Connection.read(self.layout.connection)

    def _start(self, settings: Mapping[str, str]) -> RunningEmulator:
        try:
            port = first_free(self._port)
            tls_port = first_free(port + 1)
        except NoFreePortError as error:
            raise LocalStackError(str(error)) from error
        if port != self._port:
            self._progress.note(f"Port {self._port} is taken by another program: using {port}.")
        with self._progress.step(f"Starting the emulator on port {port}"):
            files = certificate.ensure(self.layout.certificates)
            running = self._emulator.start(
                port=port,
                tls=(tls_port, files) if files else None,
                settings=settings,
                caller=os.environ,
            )
        if files is None:
            self._progress.note("No `openssl` command on this machine: HTTP only.")
        return running

    def _connect(self, running: RunningEmulator, resources: list[deployed.Resource]) -> Connection:
        api_id, stage_name = deployed.api_path(resources)
        path = f"/_aws/execute-api/{api_id}/{stage_name}"
        before = Connection.read(self.layout.connection)
        secure = running.https_url
        files = self.layout.certificates / "certificate.pem"
        return Connection(
            api_url=f"{running.endpoint_url}{path}",
            https_api_url=f"{secure}{path}" if secure else None,
            ca_file=str(files) if secure else None,
            api_key=before.api_key if before else None,
            customer_id=before.customer_id if before else None,
            region=environment.REGION,
            endpoint_url=running.endpoint_url,
            stage=STAGE,
            tables=deployed.by_role(resources, deployed.TABLE_TYPES, deployed.TABLES),
            functions=deployed.by_role(resources, ("AWS::Lambda::Function",), deployed.FUNCTIONS),
        )

    def _forget(self) -> None:
        """Remove the facts of a stack that is no more: its key opens nothing."""
        self.layout.connection.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        refusal = LocalStackError(
            f"another command is working on {self.layout.directory}; try again when it is done"
        )
        with exclusive(self.layout.run_lock, refusal):
            yield
