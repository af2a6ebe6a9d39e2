"""Charts and pictures of what happens in a model, for the page and as files."""
