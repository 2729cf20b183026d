"""From foreign tables and payloads to canonical events."""
