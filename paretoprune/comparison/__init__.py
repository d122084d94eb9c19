"""Strategies x seeds: run, recorded, ranked, and what a comparison leaves behind."""
