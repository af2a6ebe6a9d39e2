"""See what a Vision Transformer sees in a leaf, teach it a new disease, get a diagnosis."""

__version__ = "0.1.0"
