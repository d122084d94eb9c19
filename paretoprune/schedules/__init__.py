"""Keep schedules, their files, and the kernels that parameterise them."""

from paretoprune.schedules.files import ScheduleFile, read_schedule, write_schedule
from paretoprune.schedules.schedule import KeepSchedule, keep_counts

__all__ = ["KeepSchedule", "ScheduleFile", "keep_counts", "read_schedule", "write_schedule"]
