"""What the head lets in from outside: SSH, and what it asked for itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable

TABLE = "inet stellux"


def firewall_rules(ssh_ports: Iterable[int]) -> str:
    """A file for `nft -f`, which makes the table or replaces it at once.

    The table is this project's own: the machine's other rules stay as they are, and still refuse
    what they refused. `nft delete table inet stellux` takes all of it away.

    Args:
        ssh_ports: of the machine's own SSH server and of the overlay's.

    Raises ValueError without a port, and for what is none: who installs it would be locked out.
    """
    ports = sorted(set(ssh_ports))
    if not ports:
        raise ValueError("no SSH port is left open; name the one by which you come in")
    for port in ports:
        if isinstance(port, bool) or not 0 < port < 65_536:
            raise ValueError(f"the SSH port is {port!r}; it must be 1 to 65535")
    return f"""\
# Stellux: see tune_app/cloud/head/firewall.py. An empty table first: one that is not there could
# not be deleted.
table {TABLE}
delete table {TABLE}
table {TABLE} {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
        # Answers to broadcasts are related to nothing: without them the machine's own address ends.
        udp sport 67 udp dport 68 accept
        ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept
        tcp dport {{ {", ".join(map(str, ports))} }} accept
    }}
}}
"""
