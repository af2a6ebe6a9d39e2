"""What happens in the model: tokens, positions, attention, layers."""
