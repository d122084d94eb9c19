"""Evaluation harnesses of others, which ask pruned checkpoints: lmms-eval and VLMEvalKit."""
