"""The same things as on the page, without a browser: one file a command."""
