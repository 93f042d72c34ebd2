# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The private network of an app, and the place of the gateway in it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import SDK_ERRORS, Engine, EngineError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    GATEWAY,
    LABEL,
    RolloutError,
    gateway_address,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Network


class PrivateNetwork:
    """The network that all containers of an app are in, and no other but the gateway."""

    def __init__(self, engine: Engine, app: str) -> None:
        self.engine = engine
        self.app = app
        self.name = f"{app}_private"

    def exists(self) -> bool:
        return self.engine.network(self.name) is not None

    def make(self) -> Network:
        """It, made where it is not there."""
        network = self.engine.network(self.name)
        if network is not None and self._half_made(network):
            network.remove()
            network = None
        if network is None:
            network = self.engine.create_network(self.name, {f"{LABEL}.app": self.app})
        addresses = _addresses(network)
        if not addresses.get("IPRange"):
            raise RolloutError(
                f"network {self.name} exists, but was not made by this module. Remove it: `docker network rm "
                f"{self.name}`."
            )
        return Network(self.name, addresses["Subnet"], gateway_address(addresses["Subnet"]))

    def _half_made(self, network: Any) -> bool:
        """A run was killed when it had asked the engine for free addresses, and not yet divided them."""
        mine = (network.attrs.get("Labels") or {}).get(f"{LABEL}.app") == self.app
        return mine and not _addresses(network).get("IPRange")

    def attached(self, found: Network) -> bool:
        """Whether the gateway has its address."""
        endpoint = self._endpoint() or {}
        return (endpoint.get("IPAMConfig") or {}).get("IPv4Address") == found.gateway

    def carried(self) -> list[str] | None:
        """The names of the gateway that every container of the network knows; None where it is not attached."""
        endpoint = self._endpoint()
        return None if endpoint is None else list(endpoint.get("Aliases") or [])

    def _endpoint(self) -> Mapping[str, Any] | None:
        container = self.engine.container(GATEWAY)
        attached = container.attrs["NetworkSettings"]["Networks"] if container is not None else {}
        return attached.get(self.name)

    def attach(self, gateway: Any, found: Network, names: Collection[str]) -> None:
        """Give the gateway's container its address, and names for containers that bring none along.

        One that has its address is left alone, whatever its names are: detaching it would end every connection that
        goes through the network, and cut the app off where the run is killed before it is attached again.
        """
        if self.attached(found):
            return
        network = self.engine.network(self.name)
        if network is None:
            raise RolloutError(f"network {self.name} is gone. Deploy {self.app} again.")
        try:
            if self._endpoint() is not None:
                # Somebody attached it by hand, and nothing reaches it at the address that it listens on.
                network.disconnect(gateway)
            network.connect(gateway, aliases=sorted(names), ipv4_address=found.gateway)
        except SDK_ERRORS as error:
            raise EngineError(f"network {self.name}: the gateway cannot be attached: {error}") from error

    def remove(self) -> None:
        network = self.engine.network(self.name)
        if network is not None:
            with contextlib.suppress(Exception):
                network.disconnect(GATEWAY, force=True)
            network.remove()


def _addresses(network: Any) -> Mapping[str, Any]:
    """What a network says of its addresses."""
    configured = network.attrs.get("IPAM", {}).get("Config") or [{}]
    first: Mapping[str, Any] = configured[0]
    return first
