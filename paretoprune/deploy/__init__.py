"""Pruned models for use: views, files in a checkpoint directory, harnesses, exports."""
