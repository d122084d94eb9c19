"""Experiment trackers as observers of a comparison: `compare(..., observe=tracker)`."""

from paretoprune.comparison.trackers.base import Tracker, Trackers, make_tracker

__all__ = ["Tracker", "Trackers", "make_tracker"]
