"""`python -m somaseg` is the command `somaseg`."""

from somaseg.cli.main import main

main()
