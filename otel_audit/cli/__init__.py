"""The command line: one small module for each command, on top of the same ports an application uses."""
