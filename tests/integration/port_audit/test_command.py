# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command daffathan-port-audit as other projects get it: by pip and by pre-commit, on a Python without Ansible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.ansible import PROJECT

PRE_COMMIT = "pre-commit==4.7.0"
PARTS = ("pyproject.toml", ".pre-commit-hooks.yaml", "packaging", "plugins/module_utils")
PUBLISHED = "services:\n  api:\n    image: x\n    ports:\n      - 8080:80\n"
CLEAN = PUBLISHED.replace("8080:80", "127.0.0.1:8080:80")


def run(*argv: str | Path, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", **env}
    result = subprocess.run(
        [str(word) for word in argv], cwd=cwd, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def commit(directory: Path) -> None:
    run("git", "init", "-q", cwd=directory)
    run("git", "add", "-A", cwd=directory)
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x", cwd=directory)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what the package is made of: a build writes beside its sources."""
    copy = tmp_path_factory.mktemp("sources")
    for part in PARTS:
        source, target = PROJECT / part, copy / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    commit(copy)
    return copy


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtual environment."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=True)
    return directory


def test_the_command_runs_without_ansible(sources: Path, environment: Path, tmp_path: Path) -> None:
    run(environment / "bin/pip", "install", "--quiet", "--disable-pip-version-check", sources, cwd=tmp_path)
    assert run(environment / "bin/python", "-c", "import ansible", cwd=tmp_path, check=False).returncode != 0
    (tmp_path / "compose.yml").write_text(PUBLISHED)
    found = run(environment / "bin/daffathan-port-audit", "static", "--format", "json", cwd=tmp_path, check=False)
    assert found.returncode == 1, found.stderr
    (finding,) = json.loads(found.stdout)["findings"]
    assert (finding["file"], finding["line"], finding["port"]) == ("compose.yml", 5, 8080)
    (tmp_path / "compose.yml").write_text(CLEAN)
    assert run(environment / "bin/python", "-m", "daffathan_port_audit", "static", cwd=tmp_path).returncode == 0


def test_it_leaves_the_collection_of_an_installed_ansible_alone(environment: Path) -> None:
    found = environment.glob(f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/ansible_collections")
    assert list(found) == []


def test_the_hook_of_pre_commit(sources: Path, environment: Path, tmp_path: Path) -> None:
    run(environment / "bin/pip", "install", "--quiet", "--disable-pip-version-check", PRE_COMMIT, cwd=tmp_path)
    app = tmp_path / "app"
    app.mkdir()
    (app / "compose.yml").write_text(PUBLISHED)
    (app / "values.yml").write_text("not: compose\n")
    commit(app)
    hook = (environment / "bin/pre-commit", "try-repo", sources, "port-audit", "--all-files")
    home = str(tmp_path / "home")
    refused = run(*hook, cwd=app, check=False, PRE_COMMIT_HOME=home)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "compose.yml:5" in refused.stdout and "values.yml" not in refused.stdout
    (app / "compose.yml").write_text(CLEAN)
    commit(app)
    passed = run(*hook, cwd=app, PRE_COMMIT_HOME=home)
    assert "Passed" in passed.stdout
