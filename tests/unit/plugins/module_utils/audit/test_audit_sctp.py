# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import sctp
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import SocketError

from tests.support.audit_values import host, ids, reached

HEAD = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n"
MANY = "       0        0 0   10  24   3868      0 2270 198.51.100.7 2001:0db8:0000:0000:0000:0000:0000:0007 \n"
CLOSED = "       0        0 2   7   16   5432      0 2328 127.0.0.3 \n"


def test_the_table_of_the_kernel() -> None:
    found = [(item.proto, str(item.address), item.port, item.inode) for item in sctp.parse(HEAD + MANY + CLOSED + "\n")]
    assert found == [("sctp", "198.51.100.7", 3868, 2270), ("sctp", "2001:db8::7", 3868, 2270)]


@pytest.mark.parametrize("text", ["x\n", "0 0 2 10 24 port 0 1 ::\n", "0 0 2 10 24 1 0\n"])
def test_a_line_that_is_no_endpoint_is_an_error(text: str) -> None:
    with pytest.raises(SocketError):
        sctp.parse(HEAD + text)


def test_a_listener_of_sctp_is_judged_as_any_other() -> None:
    subject = host(*sctp.parse(HEAD + MANY), rules="*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    assert ("ipv4", 3868, "input") in reached(subject) and ids(subject)["undeclared-listener"] == "high"
