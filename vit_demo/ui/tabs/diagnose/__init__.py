"""The Diagnose tab: photos in, an answer out, in the language of whoever asks."""
