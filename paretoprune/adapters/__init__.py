"""Adapters: one VLM family per file, behind the contract in `base`."""
