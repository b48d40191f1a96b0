"""`python -m fsp`."""

from fsp.cli.app import main

main()
