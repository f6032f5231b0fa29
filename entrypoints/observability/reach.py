"""From where an address is reachable."""

from ipaddress import IPv6Address, ip_address


def is_public(addr: str) -> bool:
    """Whether an address to listen at, `host:port`, is reachable from other machines; no host means every interface."""
    host = addr.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return False
    try:
        address = ip_address(host)
    except ValueError:
        return True
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return not (mapped or address).is_loopback
