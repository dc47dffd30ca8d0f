"""`otel-audit spool`: what applications have written down and no peer has, or had and may have lost."""
