"""Connections that use private parts of aiohttp (`http.fastpath`).

Only `entrypoints/http/connection/runner.py` imports this package, and only if the setting is on. So an aiohttp whose
private parts changed still serves with the setting off. `tests/architecture/test_aiohttp_private_parts.py` finds such
uses anywhere else.
"""
