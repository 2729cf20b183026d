"""The raw store: what providers sent, byte for byte, before anything is made of it."""
