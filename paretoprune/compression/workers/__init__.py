"""Executors: many workers that evaluate shards of a split, and are replaced when they die."""

from paretoprune.compression.workers.placement import Placement, RayPlacement
from paretoprune.compression.workers.pool import WorkerPool
from paretoprune.compression.workers.transport import Transport, WorkerDied

__all__ = ["Placement", "RayPlacement", "Transport", "WorkerDied", "WorkerPool"]
