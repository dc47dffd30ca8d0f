"""The whole path on a real history, in one command."""
