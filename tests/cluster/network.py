"""The lab's internet: one bridge, and the homes behind routers that hang on it.

Who is on it has an address of either family, 198.51.100.n and 2001:db8::n. Homes have IPv4 alone.
Nothing else is on it: no host, no real internet. What is sent elsewhere is answered with "network
unreachable" at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tests.cluster.namespaces import Keeper

LAPTOP = "198.51.100.2"
HEAD = "198.51.100.10"
GATEWAY = "198.51.100.1"
BEHIND_NAT = "192.168.1.2"
FIRST_ROUTER = 101
LAST_ROUTER = 254

_INTERNET = f"""\
ip link add internet type bridge
ip addr add {GATEWAY}/24 dev internet
ip link set internet up
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<'END'
table bridge lab {{
    set silent {{ type ifname; }}
    chain between {{
        type filter hook forward priority 0; policy accept;
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        ether type != arp iifname @silent drop
        ether type != arp oifname @silent drop
    }}
    chain to_gateway {{
        type filter hook input priority 0; policy accept;
        ether type != arp iifname @silent drop
    }}
    chain from_gateway {{
        type filter hook output priority 0; policy accept;
        ether type != arp oifname @silent drop
    }}
}}
END
"""

_ON_IT = """\
ip netns add {inside}
ip link add {port} type veth peer name eth0 netns {inside}
ip link set {port} master internet up
ip -n {inside} -batch - <<'END'
link set lo up
addr add {address}/24 dev eth0
addr add {address6}/64 dev eth0 nodad
link set eth0 up
route add default via {gateway}
END
"""

_HOME = """\
ip netns add {name}
ip -n {router} link add eth1 type veth peer name eth0 netns {name}
ip -n {router} -batch - <<'END'
addr add 192.168.1.1/24 dev eth1
link set eth1 up
END
ip -n {name} -batch - <<'END'
link set lo up
addr add {address}/24 dev eth0
link set eth0 up
route add default via 192.168.1.1
END
ip netns exec {router} nft -f - <<'END'
table ip home {{
    chain translate {{
        type nat hook postrouting priority 100; policy accept;
        oifname eth0 masquerade
    }}
    chain through {{
        type filter hook forward priority 0; policy drop;
        iifname eth1 accept
        ct state established,related accept
    }}
}}
END
ip netns exec {router} sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
"""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A machine's place in the network."""

    name: str
    """Of its network namespace."""
    address: str
    """Its own."""
    public: str
    """The address the internet sees it under."""
    port: str
    """The bridge's end of its line."""
    router: str | None = None
    """The network namespace of the router it is behind."""

    @property
    def public6(self) -> str:
        """The same of IPv6: its own, or that of its router, which hands none on."""
        return f"2001:db8::{self.public.rpartition('.')[2]}"


def _on_it(inside: str, place: Attachment) -> str:
    """The commands that put a network namespace on the internet, at the place's addresses."""
    return _ON_IT.format(
        inside=inside,
        port=place.port,
        address=place.public,
        address6=place.public6,
        gateway=GATEWAY,
    )


class Network:
    """The internet of a lab."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._lock = threading.Lock()
        self._ports = 0
        self._routers = 0
        self._taken: set[str] = set()
        keeper.run(_INTERNET)

    def join(self, name: str, address: str) -> Attachment:
        """A machine with an address of its own."""
        with self._lock:
            self._taken.add(address)
        place = Attachment(name=name, address=address, public=address, port=self._port())
        self._keeper.run(_on_it(name, place))
        return place

    def join_behind_nat(self, name: str) -> Attachment:
        """A machine that reaches the internet, and that nobody reaches."""
        router = f"{name}-router"
        public, port = self._public(), self._port()
        place = Attachment(name=name, address=BEHIND_NAT, public=public, port=port, router=router)
        home = _HOME.format(name=name, router=router, address=BEHIND_NAT)
        self._keeper.run(_on_it(router, place) + home)
        return place

    def drop_packets(self, place: Attachment, dropped: bool) -> None:
        """All packets between a machine and the world vanish, and nobody is told; or no longer.

        Addresses are still resolved, or the kernels at both ends would report an error.
        """
        change = "nft {} element bridge lab silent {{ " + place.port + " }}\n"
        # Only what is there can be deleted.
        self._keeper.run(change.format("add") + ("" if dropped else change.format("delete")))

    def leave(self, place: Attachment) -> None:
        """Its line, its router and its network namespace go."""
        names = [name for name in (place.name, place.router) if name is not None]
        self.drop_packets(place, False)
        self._keeper.run(
            f"ip link del {place.port}\n" + "".join(f"ip netns del {name}\n" for name in names)
        )
        with self._lock:
            self._taken.discard(place.public)

    def _port(self) -> str:
        with self._lock:
            self._ports += 1
            return f"port{self._ports}"

    def _public(self) -> str:
        # The next, not the first free one: what still looks for the last machine finds nobody.
        with self._lock:
            for _ in range(LAST_ROUTER - FIRST_ROUTER + 1):
                number = FIRST_ROUTER + self._routers % (LAST_ROUTER - FIRST_ROUTER + 1)
                self._routers += 1
                address = f"198.51.100.{number}"
                if address not in self._taken:
                    self._taken.add(address)
                    return address
        raise RuntimeError(f"all {len(self._taken)} addresses of the lab's internet are taken")
