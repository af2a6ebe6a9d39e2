"""What every room may use: errors, settings, files that are whole or not there, threads."""
