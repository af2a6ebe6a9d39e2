"""One module a tab: widgets and wiring, no work of its own."""
