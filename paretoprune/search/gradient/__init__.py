"""The gradient searches and their parts: options, budgets, initial designs, coordinates, state."""
