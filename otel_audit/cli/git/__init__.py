"""A git repository's history as activities."""
