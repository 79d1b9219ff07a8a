"""Public keys that this machine has names for: its own, those that somebody here trusts, those of a checkout.

Source of the folder: https://specifications.freedesktop.org/basedir-spec/latest/.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, TamperedError, UsageError
from harness.signing.public_key import MAX_KEY_BYTES, PublicKey
from harness.system.safe_read import NO_LINK, READ
from harness.system.store import disk_errors

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CHECKOUT_KEYS = Path("manifests") / "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A public key that this machine has a name for.

    Attributes:
        name: its name.
        source: `own` (its private half is or was made here), `trusted` (somebody here ran `harness key trust`) or
            `checkout` (manifests/keys of the checkout says so: believe it as far as you believe the checkout).
        key: the key.
    """

    name: str
    source: str
    key: PublicKey

    def __str__(self) -> str:
        """The name, and who says so unless it was decided on this machine."""
        return f"{self.name} (so says manifests/keys of this checkout)" if self.source == "checkout" else self.name


def config_folder() -> Path:
    """Where this user's keys lie; a relative `XDG_CONFIG_HOME` is ignored, as its specification demands."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path(os.environ.get("HOME") or "/root") / ".config"
    return base / "repro-harness"


def check_name(name: str) -> None:
    """Whether a key may be called so.

    Raises:
        UsageError: it may not; a name is part of a file's.
    """
    if not NAME.fullmatch(name):
        problem = f"{name[:80]!r} cannot be the name of a key"
        raise UsageError(problem, "use up to 64 of a-z 0-9 . _ - and begin with a letter or a digit")


def make_subfolder(name: str, mode: int) -> Path:
    """A folder below `config_folder()`, made with this mode if it is not there.

    Raises:
        HostError: it cannot be made.
    """
    folder = config_folder() / name
    with disk_errors("making the folder of keys"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)
    return folder


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet; nobody else can read it at any moment, unless the mode says so."""
    descriptor = os.open(path, READ | os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def own_keys() -> tuple[Known, ...]:
    """The public halves of this machine's own keys, sorted by name."""
    return _known_in(config_folder() / "keys", "own")


def trusted_keys() -> tuple[Known, ...]:
    """The keys of others that somebody here decided to trust, sorted by name."""
    return _known_in(config_folder() / "trusted", "trusted")


def checkout_keys(root: Path | None) -> tuple[Known, ...]:
    """The keys that the checkout at `root` names, sorted by name; none without a checkout."""
    return () if root is None else _known_in(root / CHECKOUT_KEYS, "checkout")


def find_key(key_id: str, root: Path | None) -> Known | None:
    """The key with an id, if this machine, else the checkout at `root`, has a name for it."""
    known = (*trusted_keys(), *own_keys(), *checkout_keys(root))
    return next((one for one in known if one.key.key_id == key_id), None)


def find_known(name: str, root: Path | None) -> Known:
    """The key with a name: this machine's own, a trusted one, or one of the checkout.

    Raises:
        UsageError: there is none.
    """
    found = [known for known in (*own_keys(), *trusted_keys(), *checkout_keys(root)) if known.name == name]
    if not found:
        raise UsageError(f"no key is called {name[:80]!r}", "harness key list shows those that are known")
    return found[0]


def key_id_of(which: str) -> str:
    """The id of the key that somebody means by its id, its file, or the name that it has on this machine.

    A name that only a checkout gives does not count: whoever wrote the checkout chose it.

    Raises:
        UsageError: no key is called so here, or the file is none.
        TamperedError: the file's key was changed.
    """
    if re.fullmatch(r"[0-9a-f]{64}", which):
        return which
    if "/" in which or which.endswith(".json"):
        return read_public(Path(which).expanduser()).key_id
    return find_known(which, None).key.key_id


def trust_key(path: Path, name: str) -> PublicKey:
    """Keep a public key (`key.json`) of somebody else under a name.

    Raises:
        UsageError: there is no such file, it is no key, the name cannot be used or stands for another key.
        TamperedError: the key was changed.
        HostError: the folder cannot be written.
    """
    check_name(name)
    key = read_public(path)
    for known in (*trusted_keys(), *own_keys()):
        if known.key == key and known.name == name:
            return key
        if known.key == key:
            raise UsageError(f"this key is known already: it is {known.name} ({known.source})", "use that name")
        if known.name == name:
            raise UsageError(f"{name} is another key, {known.key.key_id}", "choose another name for this one")
    target = make_subfolder("trusted", 0o755) / f"{name}.json"
    with disk_errors("keeping a public key"):
        write_new(target, key.render(), 0o644)
    return key


def read_public(path: Path) -> PublicKey:
    """A public key file.

    Raises:
        UsageError: it cannot be read, or is something else than a key.
        TamperedError: it is a key that was changed.
    """
    try:
        with os.fdopen(os.open(path, READ), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UsageError(f"{path} is no file", "name a key.json, as `harness key show` prints it")
            data = stream.read(MAX_KEY_BYTES + 1)
        if b'"keytype"' not in data:
            raise UsageError(f"{path} is no public key", "name a key.json, as `harness key show` prints it")
        return PublicKey.parse(data)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "name a key.json, as `harness key show` prints it") from error
    except TamperedError as error:
        raise TamperedError(f"{path}: {error.problem}", error.remedy) from error


def _known_in(folder: Path, source: str) -> tuple[Known, ...]:
    """The public keys in a folder; a file that is none is not a key, and is not believed."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(HarnessError):
            if NAME.fullmatch(path.stem):
                found.append(Known(name=path.stem, source=source, key=read_public(path)))
    return tuple(found)
