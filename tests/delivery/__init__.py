"""The application's side of delivery."""
