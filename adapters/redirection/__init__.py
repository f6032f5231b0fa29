"""Adapters of the port `Redirector`: the middlewares that distribution puts around its storage.

Each names URLs; a client's bytes then pass neither the registry nor the adapter.
"""
