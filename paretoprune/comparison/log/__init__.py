"""The study log: every evaluation as an Optuna trial, so that optuna-dashboard opens any study.

One SQLite file, or a PostgreSQL database, holds the studies of a comparison, one per strategy and
seed. Per-sample outcomes lie in the results folder as `outcomes/<sha256>.npy`, written once, named
by their content.
"""

from paretoprune.comparison.log.files import OUTCOMES, read_outcomes
from paretoprune.comparison.log.place import LOG_NAME
from paretoprune.comparison.log.study_log import LoggedStudy, StudyLog
from paretoprune.comparison.log.trials import differences, projection

__all__ = [
    "LOG_NAME",
    "OUTCOMES",
    "LoggedStudy",
    "StudyLog",
    "differences",
    "projection",
    "read_outcomes",
]
