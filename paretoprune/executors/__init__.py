"""Executors: many workers that evaluate shards of a split, and are replaced when they die."""

from paretoprune.executors.crew import Crew
from paretoprune.executors.placement import Placement, RayPlacement
from paretoprune.executors.transport import Transport, WorkerDied

__all__ = ["Crew", "Placement", "RayPlacement", "Transport", "WorkerDied"]
