"""From the spine to a registered model version."""
