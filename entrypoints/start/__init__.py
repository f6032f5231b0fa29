"""A quick start: work that other packages do at their import is postponed until its result is used."""
