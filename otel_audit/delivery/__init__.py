"""The application's side: a bounded queue, one sender thread, and what a peer's answer means."""
