"""What in a photo speaks for a class, and how far such a map can be trusted."""
