"""Kernels: differentiable maps from a few parameters to a keep schedule, one family per file."""

from __future__ import annotations

from dataclasses import dataclass

from paretoprune.core.registries import BrokenPluginError
from paretoprune.errors import InvalidValueError
from paretoprune.schedules.kernels.base import SLOPE, Kernel, KernelFit, distance
from paretoprune.schedules.kernels.exponential import Exponential
from paretoprune.schedules.kernels.free import Free
from paretoprune.schedules.kernels.multi_step import FourStep, MultiStep, ThreeStep
from paretoprune.schedules.kernels.ramps import Cosine, Linear
from paretoprune.schedules.kernels.sigmoid import Sigmoid
from paretoprune.schedules.kernels.single_step import SingleStep
from paretoprune.schedules.kernels.withdrawal import Withdrawal

__all__ = [
    "SLOPE",
    "Cosine",
    "Exponential",
    "FittingKernels",
    "FourStep",
    "Free",
    "Kernel",
    "KernelFit",
    "Linear",
    "MultiStep",
    "Sigmoid",
    "SingleStep",
    "ThreeStep",
    "Withdrawal",
    "distance",
    "fitting_kernels",
]


@dataclass(frozen=True)
class FittingKernels:
    """The registered kernels that a model has room for, by name, and why others are left out."""

    kernels: dict[str, Kernel]
    left_out: dict[str, str]


def fitting_kernels(layers: int, levels: int, first: int = 1) -> FittingKernels:
    """Every registered kernel that fits a decoder, and the reasons of the others.

    Raises `InvalidValueError` where no kernel fits.
    """
    from paretoprune.registry import kernels as registered

    fitting: dict[str, Kernel] = {}
    left_out: dict[str, str] = {}
    for name in registered.usable():
        try:
            fitting[name] = registered.build(name, layers, levels, first)
        except (InvalidValueError, BrokenPluginError) as error:
            left_out[name] = str(error)
    if not fitting:
        raise InvalidValueError(next(iter(left_out.values()), "no kernel is registered"))
    return FittingKernels(fitting, left_out)
