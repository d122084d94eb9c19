"""Benchmarks, the paper's claims, training of the embedded models; only `cli` imports them."""
