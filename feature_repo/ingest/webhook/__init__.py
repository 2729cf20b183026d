"""From a provider's request to canonical events."""
