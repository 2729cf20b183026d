"""An e-mail programme with known truth."""
