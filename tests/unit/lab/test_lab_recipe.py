# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from vpslab.recipe import (
    File,
    apt_options,
    apt_sources,
    context_hash,
    env_dockerfile,
    mirrors,
    nameservers,
    read_context,
    tar,
)

CONTEXT = {"Dockerfile": File(b"FROM x"), "entry": File(b"#!/bin/sh\n", 0o755)}


def test_the_hash_changes_with_every_input_and_with_nothing_else() -> None:
    reference = context_hash(CONTEXT, {"BASE": "a"})
    assert context_hash(dict(reversed(list(CONTEXT.items()))), {"BASE": "a"}) == reference
    changed = [
        context_hash(CONTEXT, {"BASE": "b"}),
        context_hash({**CONTEXT, "entry": File(b"#!/bin/sh\nx", 0o755)}, {"BASE": "a"}),
        context_hash({**CONTEXT, "entry": File(b"#!/bin/sh\n", 0o644)}, {"BASE": "a"}),
        context_hash({**CONTEXT, "more": File(b"")}, {"BASE": "a"}),
        context_hash({"Dockerfile": CONTEXT["Dockerfile"]}, {"BASE": "a"}),
    ]
    assert reference not in changed
    assert len(set(changed)) == len(changed)


def test_a_context_keeps_the_executable_bit_and_leaves_caches_out(tmp_path: Path) -> None:
    (tmp_path / "entry").write_text("x")
    (tmp_path / "entry").chmod(0o700)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "conf").write_text("y")
    assert read_context(tmp_path) == {"entry": File(b"x", 0o755), "sub/conf": File(b"y", 0o644)}


def test_an_archive_has_the_owners_it_is_told() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar(CONTEXT, owners={"entry": (1000, 1001)}))) as archive:
        entry, dockerfile = archive.getmember("entry"), archive.getmember("Dockerfile")
    assert (entry.uid, entry.gid, entry.mode) == (1000, 1001, 0o755)
    assert (dockerfile.uid, dockerfile.gid) == (0, 0)


def test_mirrors_of_both_formats_of_apt_sources() -> None:
    deb822 = "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm\n"
    deb822 += "\nTypes: deb\nURIs: http://mirror.example/debian-security\n"
    assert mirrors(deb822, True) == ("http://mirror.example/debian", "http://mirror.example/debian-security")
    assert mirrors("deb http://a.example/debian trixie main\n", True)[0] == "http://a.example/debian"
    assert mirrors("deb http://security.debian.org/ x main", True)[1] == "http://security.debian.org"


def test_a_machine_that_is_no_debian_or_uses_https_gets_the_default_mirror() -> None:
    # The minimal base image trusts no certificate yet.
    for sources, is_debian in (("deb http://a.example/debian x main", False), ("URIs: https://a.example/debian", True)):
        assert mirrors(sources, is_debian)[0] == "http://deb.debian.org/debian"


def test_the_sources_of_a_suite_name_updates_and_security() -> None:
    text = apt_sources("bookworm", "http://m.example/debian", "http://s.example/debian-security")
    assert "Suites: bookworm bookworm-updates\n" in text
    assert "Suites: bookworm-security\n" in text
    assert text.count("Signed-By: ") == 2


def test_apt_options_keep_what_reaching_the_archive_needs() -> None:
    dump = 'APT::Install-Recommends "1";\nAcquire::Check-Valid-Until "false";\nAcquire::http::Proxy "http://p:1";\n'
    text = apt_options(dump, {"http_proxy": "http://q:2", "HTTPS_PROXY": "http://s:3"})
    assert "Recommends" not in text
    assert 'Acquire::Check-Valid-Until "false";' in text
    assert text.count("Acquire::http::Proxy") == 1
    assert 'Acquire::http::Proxy "http://p:1";' in text
    assert 'Acquire::https::Proxy "http://s:3";' in text


def test_name_servers_on_loopback_are_of_no_use_to_a_vps() -> None:
    servers = ["127.0.0.53", "192.0.2.53", "::1", "fe80::1%eth0", ""]
    text = "# x\nsearch lan\n" + "".join(f"nameserver {server}\n" for server in servers)
    assert nameservers(text) == ["192.0.2.53"]


def test_variables_are_quoted_for_a_dockerfile() -> None:
    text = env_dockerfile("base:1", {"B": 'say "hi" $HOME', "A": "back\\slash"})
    assert text == 'FROM base:1\nENV A="back\\\\slash"\nENV B="say \\"hi\\" \\$HOME"\n'


def test_a_variable_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="not a name"):
        env_dockerfile("base:1", {"A B": "x"})
