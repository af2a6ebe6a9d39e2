"""Any source as one data set."""
