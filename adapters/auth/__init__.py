"""Ways to find out who sends a request."""
