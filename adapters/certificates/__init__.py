"""Adapters of the port `core.ports.certificate_authority`, and the encryption of their results."""
