"""Pruners, the pruned decoder with prefix sharing, and the soft decoder that gradients pass."""
