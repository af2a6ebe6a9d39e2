"""The Look-inside tab: one photo, one model, and a view for each idea of a Vision Transformer."""
