"""The keys of the configuration file: names, types and rules, as marshmallow schemas that load settings."""
