"""One fine-tune as a process of its own, and the record of all runs."""
