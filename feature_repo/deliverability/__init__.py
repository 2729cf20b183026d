"""Where mail lands: what is measured of it, and the estimate made of that."""
