"""One run over several processes, as `torchrun` or `accelerate launch` start them.

All processes run the same search with the same seed. The expensive parts are shared: the rows of a
gradient step, and the sample batches of an evaluation. Each process computes its part and leaves
zeros elsewhere; the sum over processes is what one process would have found. Only the first one
prints and writes.

Sums go through gloo, whatever the device: they are small, and every machine has it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from paretoprune.errors import InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor


def processes() -> tuple[int, int]:
    """Number of this process and how many take part: (0, 1) for a run of its own."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return 0, 1
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def join() -> None:
    """Join the processes that a launcher started with this one; nothing without a launcher.

    Raises `InvalidValueError` where the launcher's environment is incomplete.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing or not size.isdigit():
        raise InvalidValueError(
            f"WORLD_SIZE={size} asks for several processes, but {', '.join(missing) or 'it'} is "
            "not set as a launcher would; start with torchrun --nproc-per-node N -m paretoprune"
        )
    import torch.distributed

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


def leave() -> None:
    """Leave them again."""
    torch = sys.modules.get("torch")
    if torch is not None and processes()[1] > 1:
        torch.distributed.destroy_process_group()


def wait() -> None:
    """Wait until all processes have come here."""
    if processes()[1] > 1:
        import torch.distributed

        torch.distributed.barrier()


def own_device(device: str) -> str:
    """`cuda` becomes this process's own GPU, by the launcher's LOCAL_RANK."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local and processes()[1] > 1 else device


def summed(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, in place; on the CPU."""
    if processes()[1] > 1:
        import torch.distributed

        torch.distributed.all_reduce(values)
    return values
