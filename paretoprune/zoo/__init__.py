"""The zoo: embedded mini-models, how they are built, and loading a model by name or folder."""
