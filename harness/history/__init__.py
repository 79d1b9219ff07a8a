"""The runs of one experiment side by side, and the search for the change that altered the bits."""
