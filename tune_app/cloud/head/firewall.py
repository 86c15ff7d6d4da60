"""What the head accepts from outside: SSH, and answers to its own connections. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

TABLE = "inet stellux"


_PORT = re.compile(r"(\d{1,5})/(tcp|udp)")


def open_ports(text: str) -> dict[str, set[int]]:
    """Ports by protocol from a text such as `80/tcp 443/tcp 51820/udp`. Raises ValueError."""
    found: dict[str, set[int]] = {"tcp": set(), "udp": set()}
    for word in text.replace(",", " ").split():
        match = _PORT.fullmatch(word)
        if match is None or not 0 < int(match[1]) < 65_536:
            raise ValueError(
                f"provider.head.open_ports has {word[:40]!r}; expected ports such as "
                "80/tcp or 51820/udp, separated by spaces"
            )
        found[match[2]].add(int(match[1]))
    return found


def firewall_rules(ssh_ports: Iterable[int], also: str = "") -> str:
    """A file for `nft -f`, which makes the table or replaces it at once.

    The table is this project's own: the machine's other rules stay as they are, and still refuse
    what they refused. `nft delete table inet stellux` takes all of it away.

    Args:
        ssh_ports: of the machine's own SSH server and of the overlay's.
        also: what else the machine serves: see `open_ports`.

    Raises ValueError without a valid port: its installer would be locked out.
    """
    ports, others = sorted(set(ssh_ports)), open_ports(also)
    if not ports:
        raise ValueError("no SSH port is left open; name the one by which you log in")
    for port in ports:
        if isinstance(port, bool) or not 0 < port < 65_536:
            raise ValueError(f"the SSH port is {port!r}; it must be 1 to 65535")
    udp = ", ".join(map(str, sorted(others["udp"])))
    udp_line = f"        udp dport {{ {udp} }} accept\n" if udp else ""
    tcp = ", ".join(map(str, sorted({*ports, *others["tcp"]})))
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
        tcp dport {{ {tcp} }} accept
{udp_line}    }}
}}
"""
