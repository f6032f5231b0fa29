"""Interfaces to the outside, as abstract classes. Their docstrings are the contract.

Each port has one contract test suite in `tests/contracts/`, which every adapter passes.
"""
