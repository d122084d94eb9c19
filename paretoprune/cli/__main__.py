"""`python -m paretoprune.cli`."""

from paretoprune.cli import main

main()
