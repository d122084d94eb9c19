"""Tasks: data that candidates are scored on."""
