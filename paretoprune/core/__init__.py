"""Spaces, objectives, candidates, the contracts of problems and strategies, and the study loop."""
