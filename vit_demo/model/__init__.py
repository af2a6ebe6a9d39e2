"""The model: a ViT with its image processor and labels, how it is opened, computed, and when it keeps
silent.
"""
