"""Benchmarks: one command each, a table of medians with ratios to a named peer measured in the same run."""
