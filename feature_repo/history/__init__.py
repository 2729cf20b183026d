"""The bitemporal event log and the feature tables built from it."""
