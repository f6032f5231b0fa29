"""Configuration: settings as plain data, the loader that creates them, and the composition root."""
