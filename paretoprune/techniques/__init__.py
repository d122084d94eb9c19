"""One module per compression technique."""
