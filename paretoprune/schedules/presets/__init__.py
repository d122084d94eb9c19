"""Published presets: configurations that papers report and people use, by name, for any model.

preset = find_preset("fastv:k=2,r=0.5")
preset.schedule(layers=28)
"""

from paretoprune.schedules.presets.base import Preset
from paretoprune.schedules.presets.find import every_preset, find_preset, find_presets

__all__ = ["Preset", "every_preset", "find_preset", "find_presets"]
