"""Arrays and records in, pictures and HTML out."""
