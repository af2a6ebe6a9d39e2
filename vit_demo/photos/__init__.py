"""From the bytes of a stranger to an upright RGB picture, and what is wrong with it."""
