"""What comes of a run: scores, calibration, when to be silent, model card."""
