"""Where the model looks while it learns: recorded, and read."""
