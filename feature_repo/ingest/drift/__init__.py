"""What changed in the form of foreign events, and the events that did not fit."""
