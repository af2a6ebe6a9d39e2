"""What a run is: its settings, folder, record, turn and checkpoint."""
