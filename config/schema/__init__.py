"""The keys of the configuration file: names, types, rules; marshmallow schemas that become settings."""
