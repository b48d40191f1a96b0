"""`python -m fsp`."""

from fsp.cli import main

main()
