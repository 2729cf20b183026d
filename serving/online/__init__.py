"""The online store as serving reads it: connection, breaker, decoding."""
