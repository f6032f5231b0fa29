"""A strict SCS endpoint, written from the protocol and not from the adapter: it shares no code with it."""

from tests.support.scs_server.faults import Faults
from tests.support.scs_server.server import FakeScsServer, Rename

__all__ = ["FakeScsServer", "Faults", "Rename"]
