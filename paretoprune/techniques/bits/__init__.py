"""Weight-only quantisation: packed linear layers, in views that leave the model untouched."""
