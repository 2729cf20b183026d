"""The queue between ingestion and everything that follows from an event."""
