# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host as the command uses it: processes, files, restic, Docker."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from daffathan_backup._backup.schedule import Schedule, largest_gap
from daffathan_backup.engines import ENGINES, database_mount
from daffathan_backup.model import MINIMUM_RESTIC, App, BackupError, Config, parse_config, parse_version, redact
from daffathan_backup.points import TAG, Snapshot, parse_snapshots

QUICK = 120.0
# Seconds that a repository may take to be opened.
ANSWER = 60.0
REMEDIES = {
    10: "If it moved, set backup_repository; if it is lost, `daffathan-backup init` starts a new, empty one.",
    11: "Another program works on the repository; `daffathan-backup restic list locks` shows it.",
    12: "The password file does not belong to this repository; put back the password it was made with.",
}


class NoAnswer(BackupError):
    """A program was ended because its time was over."""


@dataclass(frozen=True)
class Completed:
    argv: Sequence[str]
    returncode: int
    stdout: str
    stderr: str


class Host:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.state = Path(config.state_directory)
        self._credentials = _read_credentials(config.credentials_file)

    # --- processes ---

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        timeout: float | None = None,
    ) -> Completed:
        """Run argv and return what it printed; secrets in its output are replaced."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
        try:
            process = subprocess.run(
                argv,
                env=environment,
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError:
            raise BackupError(f"The command {argv[0]} is not installed on this host.") from None
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"{' '.join(argv[:3])} gave no result within {timeout:.0f} s.") from None
        hidden = [*self._credentials.values(), *(value for key, value in (env or {}).items() if _secret(key))]
        said = redact(process.stderr.decode("utf-8", "replace"), hidden)
        return Completed(argv, process.returncode, (process.stdout or b"").decode("utf-8", "replace"), said)

    def schedule(self) -> Schedule:
        """The timer, with what systemd says of it."""
        timer = self.config.timer

        def ask(argv: Sequence[str]) -> str:
            completed = self.run(argv, timeout=QUICK)
            if completed.returncode != 0:
                raise BackupError(f"The schedule {timer.event!r} is not understood: {completed.stderr.strip()}")
            return completed.stdout

        gap = largest_gap(timer.event, ask, datetime.now(timezone.utc))
        return Schedule(timer.event, gap, timer.jitter, timer.timeout)

    # --- restic ---

    def restic_environment(self) -> dict[str, str]:
        return {
            **self._credentials,
            "RESTIC_REPOSITORY": self.config.repository,
            "RESTIC_PASSWORD_FILE": self.config.password_file,
            "RESTIC_CACHE_DIR": self.config.cache_directory,
            "RESTIC_PROGRESS_FPS": "0.1",
        }

    def restic(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        accept: Sequence[int] = (0,),
        timeout: float | None = None,
    ) -> Completed:
        """Run restic on the repository. A lock of another program is waited for; BackupError says what restic said."""
        argv = [self.config.restic, "--retry-lock=10m", *arguments]
        environment = {**self.restic_environment(), **(env or {})}
        completed = self.run(argv, env=environment, stdin=stdin, stdout=stdout, timeout=timeout)
        if completed.returncode not in accept:
            raise BackupError(f"restic {arguments[0]}: {explain_restic(completed)}")
        return completed

    def restic_into(self, reader: Sequence[str], *arguments: str) -> Completed:
        """What a command said that was given the output of restic to read; BackupError where restic failed."""
        argv = [self.config.restic, "--retry-lock=10m", *arguments]
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **self.restic_environment()}
        with tempfile.TemporaryFile() as words:
            with subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words
            ) as source:
                try:
                    read = self.run(reader, stdin=source.stdout)
                except BaseException:
                    source.kill()
                    raise
                # A reader that ended early leaves nobody to write to.
                if source.stdout:
                    source.stdout.close()
            words.seek(0)
            said = redact(words.read().decode("utf-8", "replace"), self._credentials.values())
        if read.returncode == 0 and source.returncode != 0:
            raise BackupError(f"restic {arguments[0]}: {explain_restic(Completed(argv, source.returncode, '', said))}")
        return read

    def check_repository(self) -> None:
        """Open the repository; one that is far away and silent is not waited for as long as restic would."""
        self.check_restic()
        try:
            self.restic("cat", "config", "--no-lock", timeout=ANSWER)
        except NoAnswer:
            raise BackupError(
                f"The repository {self.config.repository} gave no answer within {ANSWER:.0f} s. Look at the network "
                "between this host and it; `daffathan-backup verify` asks again."
            ) from None

    def check_restic(self) -> None:
        version = parse_version(self.run([self.config.restic, "version"], timeout=QUICK).stdout)
        if version is None or version < MINIMUM_RESTIC:
            found = "unknown" if version is None else ".".join(map(str, version))
            needed = ".".join(map(str, MINIMUM_RESTIC))
            raise BackupError(
                f"{self.config.restic} is version {found}, but {needed} or later is needed: older ones store a "
                "truncated dump without an error. Use Debian 13, or set backup_restic_path to a newer binary."
            )

    def snapshots(self, app: str | None = None) -> tuple[Snapshot, ...]:
        """The snapshots this host made, of one app or of all."""
        tag = TAG if app is None else f"{TAG},app:{app}"
        completed = self.restic("snapshots", "--json", "--no-lock", "--host", self.config.host, "--tag", tag)
        return parse_snapshots(json.loads(completed.stdout) or [])

    # --- Docker ---

    def docker(self, *arguments: str) -> str:
        completed = self.run(["docker", *arguments], timeout=QUICK)
        if completed.returncode != 0:
            raise BackupError(f"docker {arguments[0]}: {completed.stderr.strip()}")
        return completed.stdout

    def container(self, app: App) -> str:
        """The id of the one running container of the app's database service."""
        assert app.database is not None
        labels = (f"project={app.name}", f"service={app.database.service}", "oneoff=False")
        filters = [part for label in labels for part in ("--filter", f"label=com.docker.compose.{label}")]
        running = self.docker("ps", "--quiet", "--no-trunc", *filters).split()
        if len(running) != 1:
            raise BackupError(
                f"Service {app.database.service!r} of app {app.name!r} has {len(running)} running containers; "
                "a database is reached through exactly one. Start it (playbook deploy), or correct "
                "`backup.database.service`."
            )
        return running[0]

    def password(self, app: App, container: str) -> dict[str, str]:
        """The environment that carries the database password, when it stands in a file of the container."""
        assert app.database is not None
        if app.database.password_file is None:
            return {}
        completed = self.run(["docker", "exec", container, "cat", app.database.password_file], timeout=QUICK)
        if completed.returncode != 0:
            raise BackupError(
                f"backup.database.password_file of app {app.name!r}: cannot read {app.database.password_file} "
                f"in the container of service {app.database.service!r}: {completed.stderr.strip()}"
            )
        return {ENGINES[app.database.engine].password_variable: completed.stdout.rstrip("\r\n")}

    def mountpoint(self, app: App, volume: str) -> str:
        """The directory of a named volume of the app; refuses what a copy of files would not be a backup of."""
        name = self._volume_name(app, volume)
        (facts,) = json.loads(self.docker("volume", "inspect", name))
        path, where = facts["Mountpoint"], f"Volume {volume!r} of app {app.name!r}"
        if facts["Driver"] != "local" or not os.path.isdir(path):
            raise BackupError(
                f"{where} (driver {facts['Driver']}) has no directory on this host ({path}); "
                "only volumes of the local driver are backed up."
            )
        if facts.get("Options") and not os.path.ismount(path):
            raise BackupError(f"{where} is mounted from elsewhere only while a container uses it; start the app first.")
        users = self.docker("ps", "--quiet", "--no-trunc", "--filter", f"volume={name}").split()
        for container in json.loads(self.docker("inspect", *users)) if users else []:
            directory = database_mount(container["Mounts"], name)
            if directory:
                raise BackupError(
                    f"{where} holds the files of a running database server ({directory} in "
                    f"{container['Name'].strip('/')}); a copy of them is not consistent. "
                    "Use `backup.database` and take the volume out of `backup.volumes`."
                )
        return path

    def _volume_name(self, app: App, volume: str) -> str:
        named = f"{app.name}_{volume}"
        labels = (f"project={app.name}", f"volume={volume}")
        filters = [part for label in labels for part in ("--filter", f"label=com.docker.compose.{label}")]
        found = set(self.docker("volume", "ls", "--quiet", *filters).split())
        if not found:
            found = {named} & set(self.docker("volume", "ls", "--quiet", "--filter", f"name={named}").split())
        if len(found) != 1:
            raise BackupError(
                f"Volume {volume!r} of app {app.name!r} does not exist on this host. Deploy the app first (playbook "
                "deploy), or correct the name in `backup.volumes`: it is the one in the compose file."
            )
        return found.pop()

    # --- files ---

    def read_status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.state / "status.json").read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except ValueError:
            # It is written atomically: somebody else has been here. The repository itself tells what exists.
            return {"error": f"{self.state / 'status.json'} is not JSON; the next run writes it anew."}

    def write_status(self, status: Mapping[str, Any]) -> None:
        write_atomic(self.state / "status.json", json.dumps({**status, "version": 1}, indent=2) + "\n", 0o600)

    @contextlib.contextmanager
    def lock(self, wait: float) -> Iterator[None]:
        """One run at a time on this host; the kernel releases the lock when the holder dies."""
        with open(self.state / "lock", "a", encoding="utf-8") as handle:
            deadline, told = time.monotonic() + wait, False
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise BackupError(
                            f"Another backup or restore is still running after {wait:.0f} s; try again later."
                        ) from None
                    if not told:
                        print("Waiting for another backup or restore to end.", flush=True)
                        told = True
                    time.sleep(0.5)
            yield

    def running(self) -> bool:
        """Whether a backup or restore holds the lock now."""
        try:
            with open(self.state / "lock", encoding="utf-8") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


def load_config(path: str) -> Config:
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}. Run as root; role backup writes this file.") from None
    try:
        return parse_config(json.loads(text))
    except ValueError as error:
        raise BackupError(f"{path} is not JSON: {error}") from None


def write_atomic(path: Path, text: str, mode: int) -> None:
    """Replace a file so that a reader, or a host that loses power, sees the old or the new content whole."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            os.fchmod(handle.fileno(), mode)
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def explain_restic(completed: Completed) -> str:
    """What restic and the command it started said, in one line, with the remedy where its exit status tells one."""
    said: list[str] = []
    for line in completed.stderr.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            said.append(line.strip())
            continue
        if isinstance(entry, dict):
            said.append(str(entry.get("message") or (entry.get("error") or {}).get("message") or line))
    words = [" ".join(part.split()) for part in said if part]
    # The cause stands first, restic's verdict last.
    text = " | ".join(words if len(words) <= 5 else [*words[:4], words[-1]])
    return " ".join(filter(None, (text or f"exit status {completed.returncode}", REMEDIES.get(completed.returncode))))


def _read_credentials(path: str) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in json.loads(Path(path).read_text("utf-8")).items()}
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}. Run as root; role backup writes this file.") from None
    except (ValueError, AttributeError):
        raise BackupError(f"{path} is not a JSON object of environment variables; run role backup again.") from None


def _secret(variable: str) -> bool:
    return any(variable == engine.password_variable for engine in ENGINES.values())
