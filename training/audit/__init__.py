"""The leakage audit: one kind of evidence a module; `training/leakage.py` is its front."""
