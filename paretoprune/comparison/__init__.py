"""Strategies x seeds: run, recorded and ranked, and the files of a comparison."""
