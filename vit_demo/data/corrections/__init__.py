"""What people decided about photos: corrected answers, and decisions about a data set."""
