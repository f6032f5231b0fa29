"""Steps before and after every handler."""
