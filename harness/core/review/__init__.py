"""The review: rules that training code, its surroundings and its evidence must keep, as values and functions."""
