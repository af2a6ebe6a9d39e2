"""What a Vision Transformer looks at: patches, attention and attention rollout, as plain arrays."""
