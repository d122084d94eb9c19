"""Search strategies: one per file, behind the contract in `base`."""
