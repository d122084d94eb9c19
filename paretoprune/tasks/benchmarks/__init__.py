"""Published benchmarks as tasks: one file each, with its prompt, scoring and metric."""
