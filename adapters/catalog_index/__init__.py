"""Adapters of the `CatalogIndex` port: memory, a text file, MySQL, and the listing of storage itself.

None of them decides whether a repository exists; each only stores names, or reads them from storage.
"""
