"""`python -m ffcore`: the command line."""

from ffcore.cli import main

main()
