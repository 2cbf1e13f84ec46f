"""The command ``flowstack``, which comes with the extra ``flowstack[cli]``."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command, or say what it lacks."""
    if find_spec("typer") is None or find_spec("rich") is None:
        sys.stderr.write("The command needs more packages: pip install 'flowstack[cli]'\n")
        raise SystemExit(2)
    from flowstack.cli.commands import app  # noqa: PLC0415 - it needs the packages

    app()
