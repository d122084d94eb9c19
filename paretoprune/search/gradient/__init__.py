"""Parts of the gradient searches: knots, coordinates, the augmented Lagrangian, state."""
