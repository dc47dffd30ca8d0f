"""What an application holds: the log in memory, in a local folder, or behind an OTLP endpoint."""
