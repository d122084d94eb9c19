"""Experiment trackers as observers of a comparison: `compare(..., observe=tracker)`."""

from paretoprune.track.base import Tracker, make_tracker

__all__ = ["Tracker", "make_tracker"]
