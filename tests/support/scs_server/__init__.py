"""Strict SCS endpoint, written from the protocol; it shares no code with the adapter."""

from tests.support.scs_server.faults import Faults
from tests.support.scs_server.server import FakeScsServer, Rename

__all__ = ["FakeScsServer", "Faults", "Rename"]
