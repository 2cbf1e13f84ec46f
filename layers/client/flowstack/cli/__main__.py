"""``python -m flowstack.cli``."""

from flowstack.cli import main

main()
