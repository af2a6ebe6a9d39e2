"""From a photo file to a diagnosis."""
