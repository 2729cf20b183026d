"""Tiers: cuts proposed from the scores, and what the owner decided about them."""
