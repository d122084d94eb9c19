"""One pruner per file."""
