"""`python -m local_stack`."""

from local_stack.commands import app

app()
