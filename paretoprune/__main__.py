"""`python -m paretoprune`."""

from paretoprune.cli import main

main()
