"""Starts, finds and ends the emulator's process."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
from pydantic import BaseModel, ConfigDict

from local_stack import environment
from local_stack.certificate import Certificate
from local_stack.failure import LocalStackError, tail
from local_stack.files import is_locked, try_lock, write_whole
from local_stack.layout import Layout
from local_stack.ports import LOOPBACK

START_SECONDS = 30
STOP_SECONDS = 10
ANSWER_SECONDS = 5
POLL_SECONDS = 0.1
OPEN_FILES = 10_240  # a burst of clients needs more than the usual 1,024


class RunningEmulator(BaseModel):
    """An emulator that was started, as written down beside its log.

    Attributes
    ----------
    pid
        Its process, which leads the group of all processes it started.
    port, tls_port
        Where it speaks HTTP, and HTTPS if it does.
    settings
        What it was started with.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    port: int
    tls_port: int | None
    settings: dict[str, str]

    @property
    def endpoint_url(self) -> str:
        """The address, not a name: the SDKs then put a bucket's name into the path."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def https_url(self) -> str | None:
        return f"https://{LOOPBACK}:{self.tls_port}" if self.tls_port else None

    def answers(self) -> bool:
        """Return whether it says within seconds that it is healthy."""
        try:
            answer = httpx.get(
                f"{self.endpoint_url}/_ministack/health", timeout=ANSWER_SECONDS, trust_env=False
            )
        except httpx.TransportError:
            return False
        return answer.is_success


class Emulator:
    """The one emulator of a folder, whichever process started it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._child: subprocess.Popen[bytes] | None = None

    def find(self) -> RunningEmulator | None:
        """Return the emulator that runs for this folder, or None.

        Its lock decides, not the record: after a crash or a restart of the machine the record may
        name a process that belongs to somebody else.
        """
        record = self._layout.emulator_record
        if not is_locked(self._layout.emulator_lock) or not record.exists():
            return None
        return RunningEmulator.model_validate_json(record.read_text(encoding="utf-8"))

    def start(
        self,
        *,
        port: int,
        tls: tuple[int, Certificate] | None,
        settings: Mapping[str, str],
        caller: Mapping[str, str],
    ) -> RunningEmulator:
        """Start an emulator in a session of its own and wait until it answers.

        Parameters
        ----------
        port, tls
            Where it speaks HTTP; where it speaks HTTPS as well, and with which certificate.
        settings
            What it is told beyond its ports and folders.
        caller
            The environment of who starts it.

        Raises
        ------
        LocalStackError
            When it is not installed, ends early or does not answer in time.
        """
        if not self._layout.emulator_python.exists():
            raise LocalStackError(f"{self._layout.emulator_python} is missing: run `make setup`")
        self._layout.prepare()
        _allow_many_open_files()
        process = self._spawn(
            _command(self._layout.emulator_python, port, tls),
            environment.for_emulator(caller, self._layout, port=port, settings=settings),
        )
        running = RunningEmulator(
            pid=process.pid, port=port, tls_port=tls[0] if tls else None, settings=dict(settings)
        )
        write_whole(self._layout.emulator_record, running.model_dump_json(indent=2) + "\n")
        try:
            _wait_until_healthy(process, running, self._layout.emulator_log)
        except BaseException:
            self.stop()
            raise
        return running

    def stop(self) -> bool:
        """End the emulator and every process it started; return whether one was running."""
        running = self.find()
        if running is not None:
            _signal_group(running.pid, signal.SIGTERM)
            if not self._ends_within(STOP_SECONDS):
                _signal_group(running.pid, signal.SIGKILL)
                self._ends_within(STOP_SECONDS)
            # Functions that were busy may have outlived their parent.
            _signal_group(running.pid, signal.SIGKILL)
        if self._child is not None:
            self._child.wait(STOP_SECONDS)
            self._child = None
        self._layout.emulator_record.unlink(missing_ok=True)
        shutil.rmtree(self._layout.scratch, ignore_errors=True)
        return running is not None

    def _spawn(self, command: list[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        lock = try_lock(self._layout.emulator_lock)
        if lock is None:
            raise LocalStackError(f"another emulator holds {self._layout.emulator_lock}")
        with lock, self._layout.emulator_log.open("w", encoding="utf-8") as log:
            self._child = subprocess.Popen(
                command,
                cwd=self._layout.scratch,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock.fileno()],  # the child keeps the lock when this process closes it
            )
        return self._child

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while is_locked(self._layout.emulator_lock):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


def _command(python: Path, port: int, tls: tuple[int, Certificate] | None) -> list[str]:
    """Return the command line of the server, which `python -m ministack -d` starts as well.

    The emulator's own switch for TLS makes all its traffic TLS, and then every SDK, Lambda
    function and script has to be told of the certificate. The server can do both: HTTP for the
    tools, HTTPS on a second port for the API's clients.
    """
    server = [str(python), "-m", "hypercorn", "ministack.app:app", "--workers", "0"]
    server += ["--keep-alive", "75", "--graceful-timeout", "1"]
    if tls is None:
        return [*server, "--bind", f"{LOOPBACK}:{port}"]
    tls_port, files = tls
    server += ["--insecure-bind", f"{LOOPBACK}:{port}", "--bind", f"{LOOPBACK}:{tls_port}"]
    return [*server, "--certfile", str(files.certificate), "--keyfile", str(files.key)]


def _wait_until_healthy(
    process: subprocess.Popen[bytes], running: RunningEmulator, log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not running.answers():
        if process.poll() is not None:
            raise LocalStackError(f"the emulator ended with {process.returncode}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise LocalStackError(f"the emulator did not answer in {START_SECONDS} s:\n{tail(log)}")
        time.sleep(POLL_SECONDS)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def _allow_many_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
