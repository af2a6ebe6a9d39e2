"""Where photos and their labels come from."""
