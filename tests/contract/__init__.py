"""One suite for every repo: what an application may rely on, whichever implementation it was given."""
