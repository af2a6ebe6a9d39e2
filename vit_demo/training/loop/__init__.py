"""What a run does, from the first step to the saved model."""
