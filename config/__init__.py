"""Configuration: settings as plain data, the one loader that fills them, and the composition root."""
