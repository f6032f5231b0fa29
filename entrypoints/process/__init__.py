"""The server process: start, workers, reload, stop."""
