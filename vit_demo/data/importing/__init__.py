"""Photos that people bring: archives, folders, tables."""
