# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The one adapter to Docker: the SDK for the engine, `docker compose` by argv."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text
from ansible_collections.daffathan.platform.plugins.module_utils._docker.patience import Patient
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import LABEL, RolloutError

try:
    import docker
    import docker.errors
    import docker.types
    import docker.utils
    import requests

    HAS_SDK = True
    # What the SDK raises when the engine refuses, and when it goes away in the middle of a call.
    SDK_ERRORS: tuple[type[Exception], ...] = (docker.errors.DockerException, requests.exceptions.RequestException)
except ImportError:
    HAS_SDK = False
    SDK_ERRORS = ()

PULL_WORKERS = 4
# Seconds in which the engine takes away what a container leaves: process, network, file system.
END_PAUSE = 0.25
# On a container that is made to read a file of its image, and never started: for whom.
READER = f"{LABEL}.reader"
UNREACHABLE = (
    "The Docker engine does not answer ({reason}). Is it installed and running? `systemctl status docker` tells; "
    "role daffathan.platform.docker installs it."
)


# The engine writes its process id here when it starts.
PID_FILE = "/run/docker.pid"
FULL = "no space left on device"


class EngineError(RolloutError):
    """The engine refused or does not answer."""


class NoEngine(EngineError):
    """There is no engine, or what it takes to speak to it."""


class Engine:
    """A connection to the local engine. `timeout` in seconds is for a single answer."""

    def __init__(self, timeout: int = 120) -> None:
        if not HAS_SDK:
            raise NoEngine(
                "The Docker SDK for Python is missing. Role daffathan.platform.docker installs it: `apt install "
                "python3-docker`."
            )
        try:
            self.api = docker.from_env(timeout=timeout, version="auto")
            self.api.ping()
        except SDK_ERRORS as error:
            raise NoEngine(UNREACHABLE.format(reason=_reason(error))) from error
        self._pid = read_text(PID_FILE)
        self.restarts = 0
        client: Any = self.api.api
        ping = requests.Request("GET", f"{client.base_url}/_ping").prepare()
        errors = requests.exceptions
        inner = client.get_adapter(client.base_url)
        self._patience = Patient(inner, ping, errors.ConnectionError, errors.RequestException)
        client.mount(client.base_url, self._patience)

    def came_back(self) -> bool:
        """Whether the engine has gone away since it was asked this last, and answers again; waits for it."""
        answers = self._patience.wait()
        pid = read_text(PID_FILE)
        changed, self._pid = pid != self._pid, pid
        self.restarts += changed
        return answers and changed

    def data_directory(self) -> str:
        with told("the engine does not tell where it keeps its data"):
            return str(self.api.info()["DockerRootDir"])

    # Images

    def local_image(self, reference: str) -> Any | None:
        try:
            with told(f"image {reference}", docker.errors.ImageNotFound):
                return self.api.images.get(reference)
        except docker.errors.ImageNotFound:
            return None

    def registry_digest(self, reference: str) -> str:
        """What a tag means now, asked from its registry; no layer is pulled."""
        try:
            return str(self.api.images.get_registry_data(reference).id)
        except SDK_ERRORS as error:
            raise EngineError(_reason(error)) from error

    def pull(self, references: Collection[str]) -> list[str]:
        """Pull what is not there, several at a time; everything or an error."""
        missing = [reference for reference in sorted(set(references)) if self.local_image(reference) is None]
        if missing:
            with ThreadPoolExecutor(PULL_WORKERS) as pool:
                list(pool.map(self._pull_one, missing))
        return missing

    def _pull_one(self, reference: str) -> None:
        said = self._pull(reference)
        if said is not None and self.came_back():
            said = self._pull(reference)
        if said is not None:
            raise EngineError(f"image {reference} cannot be pulled: {said}. {_remedy(said)}")

    def _pull(self, reference: str) -> str | None:
        """What kept an image from being pulled."""
        repository, tag = docker.utils.parse_repository_tag(reference)
        try:
            # What goes wrong after the first byte of the answer is a line of it; images.pull() of the SDK reads none.
            lines = list(self.api.api.pull(repository, tag=tag or "latest", stream=True, decode=True))
        except SDK_ERRORS as error:
            return _reason(error)
        said = next((str(line["error"]) for line in lines if "error" in line), None)
        return said or (None if self.local_image(reference) else "it is not there after the pull")

    def remove_image(self, reference: str) -> None:
        """Remove an image that nothing uses; one that is used stays, and one that somebody gave a tag."""
        image = self.local_image(reference)
        if image is None or image.tags:
            return
        try:
            self.api.images.remove(reference, noprune=False)
        except SDK_ERRORS:
            return

    def image_uid(self, reference: str, user: str | None, app: str) -> tuple[int, int]:
        """The numeric user and group a container of this image runs as, for an app whose lock is held."""
        image = self.local_image(reference)
        text = user or (image.attrs["Config"].get("User") if image is not None else "") or "0"
        name, group = (str(text).split(":", 1) + [""])[:2]
        if name.isdigit():
            return int(name), int(group) if group.isdigit() else -1
        for line in self._file_of_image(reference, "/etc/passwd", app).splitlines():
            fields = line.split(":")
            if len(fields) > 3 and fields[0] == name:
                return int(fields[2]), int(fields[3])
        raise EngineError(
            f"image {reference}: it runs as user {name}, which its /etc/passwd does not have. Use a numeric user."
        )

    def _file_of_image(self, reference: str, path: str, app: str) -> str:
        self.remove_readers(app)
        labels = {READER: app}
        with told(f"image {reference}: {path} cannot be read"):
            container = self.api.containers.create(reference, command=["true"], network_disabled=True, labels=labels)
            try:
                chunks = container.get_archive(path)[0]
                with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                    member = archive.extractfile(archive.getmembers()[0])
                    return member.read().decode("utf-8", "replace") if member else ""
            finally:
                container.remove(force=True)

    def remove_readers(self, app: str) -> None:
        """Remove what a run that was killed while it read a file of an image left."""
        self.each(self.containers([f"{READER}={app}"]), "remove", force=True)

    # Containers

    def containers(self, labels: Collection[str]) -> list[Any]:
        """Containers with all of these labels, running or not."""
        with told("containers cannot be listed"):
            return list(self.api.containers.list(all=True, filters={"label": list(labels)}, ignore_removed=True))

    def container(self, name: str) -> Any | None:
        try:
            with told(f"container {name}", docker.errors.NotFound):
                return self.api.containers.get(name)
        except docker.errors.NotFound:
            return None

    def each(self, containers: Collection[Any], verb: str, **arguments: Any) -> None:
        """Call one method on many containers, as many at a time as leave a core to the requests that go on.

        All are told to stop without waiting for each other, but not at once: the engine has work with each that ends.
        """
        spare = max(1, (os.cpu_count() or 1) - 1)

        def call(container: Any) -> None:
            try:
                getattr(container, verb)(**arguments)
            except docker.errors.NotFound:
                return
            except SDK_ERRORS as error:
                raise EngineError(f"container {container.name}: {verb}: {_reason(error)}") from error

        with ThreadPoolExecutor(len(containers) or 1 if verb == "stop" else spare) as pool:
            calls = []
            for number, container in enumerate(containers):
                if verb == "stop" and number and number % spare == 0:
                    time.sleep(END_PAUSE)
                calls.append(pool.submit(call, container))
            for done in calls:
                done.result()

    def reload(self, container: Any) -> None:
        """Look at a container again."""
        with told(f"container {container.name}"):
            container.reload()

    # Networks and volumes

    def network(self, name: str) -> Any | None:
        try:
            with told(f"network {name}", docker.errors.NotFound):
                return self.api.networks.get(name)
        except docker.errors.NotFound:
            return None

    def create_network(self, name: str, labels: Mapping[str, str]) -> Any:
        """A bridge network in a range that the engine found free; it gives out the lower half of it by itself."""
        with told(f"network {name} cannot be made"):
            probe = self.api.networks.create(name, driver="bridge", labels=dict(labels))
            probe.reload()
            subnet = probe.attrs["IPAM"]["Config"][0]["Subnet"]
            probe.remove()
            lower = next(ipaddress.IPv4Network(subnet).subnets(prefixlen_diff=1))
            pool = docker.types.IPAMPool(subnet=subnet, iprange=str(lower))
            ipam = docker.types.IPAMConfig(pool_configs=[pool])
            network = self.api.networks.create(name, driver="bridge", labels=dict(labels), ipam=ipam)
            network.reload()
            return network

    def ensure_volume(self, name: str, driver: str, options: Mapping[str, str], labels: Mapping[str, str]) -> None:
        with told(f"volume {name} cannot be made"):
            try:
                self.api.volumes.get(name)
            except docker.errors.NotFound:
                self.api.volumes.create(name=name, driver=driver, driver_opts=dict(options), labels=dict(labels))


@contextlib.contextmanager
def told(what: str, *expected: type[Exception]) -> Iterator[None]:
    """What the SDK raises becomes an error that says what was asked for; what the caller expects stays as it is."""
    try:
        yield
    except expected:
        raise
    except SDK_ERRORS as error:
        raise EngineError(f"{what}: {_reason(error)}") from error


def compose(*arguments: str, timeout: float = 900, pass_fds: Collection[int] = ()) -> str:
    """Run `docker compose` and return what it printed on standard output."""
    return compose_both(*arguments, timeout=timeout, pass_fds=pass_fds)[0]


def compose_both(
    *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 900, pass_fds: Collection[int] = ()
) -> tuple[str, str]:
    """The same with what was printed on standard error."""
    try:
        done = run(["docker", "compose", *arguments], env=env, timeout=timeout, pass_fds=pass_fds)
    except CommandError as error:
        if error.completed.rc == 127 or "is not a docker command" in error.completed.stderr:
            raise NoEngine(
                "`docker compose` is not there. Role daffathan.platform.docker installs Compose v2 with the engine."
            ) from error
        said = [line for line in (error.completed.stderr or str(error)).strip().splitlines() if line.strip()]
        raise EngineError("\n".join(said[-5:]) or str(error)) from error
    return done.stdout, done.stderr


def normalise(path: str, project: str, env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The compose file as Compose understands it, with the services of all profiles, and its warnings."""
    which = ("--profile", "*", "--project-name", project, "--file", path)
    try:
        out, err = compose_both(*which, "config", "--format", "json", env=env, timeout=60)
    except NoEngine:
        raise
    except EngineError as error:
        raise EngineError(f"compose file {path}: {error}") from error
    warnings = [line.split('msg="', 1)[-1].rstrip('"') for line in err.splitlines() if "level=warning" in line]
    return json.loads(out), [
        f"compose file: {line}" for line in warnings if "attribute `version` is obsolete" not in line
    ]


def _remedy(said: str) -> str:
    if FULL in said:
        return (
            "The disk that Docker keeps its data on is full. Free some space (`docker system df` tells what takes it), "
            "and raise `min_free_disk` so that the next run asks for it first."
        )
    return (
        "Check its name, that it was pushed, that the registry is reachable from this host, and `docker login` for a "
        "private one."
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)
