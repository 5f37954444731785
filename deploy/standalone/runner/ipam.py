"""Which address a new pod of a node gets."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from deploy.standalone.runner.errors import NetworkError


class PodAddresses:
    """The addresses of one node's pods, both families with the same number.

    Numbers go round, so that an address that was given back is used again as
    late as possible: someone may still be talking to the pod that had it.
    """

    def __init__(self, cidr4: IPv4Network, cidr6: IPv6Network) -> None:
        self.cidr4 = cidr4
        self.cidr6 = cidr6
        self.last = cidr4.num_addresses - 2
        self.taken: dict[str, int] = {}
        self.next = 2

    def take(self, pod: str) -> tuple[str, str]:
        """The IPv4 and IPv6 address of a pod, the same until it is given back.

        Raises NetworkError when the node has no address left.
        """
        if pod not in self.taken:
            used = set(self.taken.values())
            span = range(2, self.last + 1)
            order = [*range(self.next, self.last + 1), *range(2, self.next)]
            number = next((n for n in order if n not in used), None)
            if number is None:
                raise NetworkError(f"all {len(span)} pod addresses of {self.cidr4} are in use")
            self.taken[pod] = number
            self.next = number + 1 if number < self.last else 2
        number = self.taken[pod]
        return str(self.cidr4[number]), str(self.cidr6[number])

    def give_back(self, pod: str) -> None:
        """A pod is gone."""
        self.taken.pop(pod, None)
