"""Policies: how many visual tokens to keep for this input, static or adaptive."""
