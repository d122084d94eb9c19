"""The zoo: embedded mini-models, how they are built and trained."""
