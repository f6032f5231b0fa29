"""What the domain needs from the world, as abstract classes whose docstrings are the contract.

Each port has one contract suite in `tests/contracts/` that every adapter passes.
"""
