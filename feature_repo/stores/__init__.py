"""Feast plug-ins, named by class path in feature_store.yaml."""
