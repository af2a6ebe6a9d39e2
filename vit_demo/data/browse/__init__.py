"""A data set as a catalogue: filter, sort, search, page, count."""
