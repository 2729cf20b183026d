"""One module per provider: how it signs, and how its events lie in a body."""
