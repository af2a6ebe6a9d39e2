"""Photos that are there twice, and splits that keep them on one side."""
