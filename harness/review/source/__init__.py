"""How the review reads Python: files, scopes, names, programs."""
