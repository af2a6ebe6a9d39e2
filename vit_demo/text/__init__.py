"""What is said on screen, by key and language."""
