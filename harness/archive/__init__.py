"""One file for a finished run: written, read, and the folder that it came from."""
