"""A data set as files or on the Hub."""
