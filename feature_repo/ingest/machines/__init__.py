"""Opens and clicks that no person made."""
