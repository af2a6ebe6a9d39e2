"""What lies in a source and what it means: a plan, made from names and headers before anything is decoded."""
