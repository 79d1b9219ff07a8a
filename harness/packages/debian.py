"""Debian's package archive: where a mirror is, fetching locked packages from it, and writing a base's lock.

No host is named here. Mirrors are taken from `$HARNESS_DEBIAN_MIRROR`, else from this machine's own apt configuration,
else (Ubuntu, Fedora, Arch) from the data of an installed package that names one; what they no longer have is looked
for in the archives of `$HARNESS_ARCHIVE` and at `$HARNESS_DEBIAN_SNAPSHOT`. The lock's hashes judge what they send.

Only bookworm's `main` suite is locked, never its security suite: what a finished release holds stays on the mirrors,
while a security update disappears from them when the next one comes, and an image without a network needs it least.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.documents.lockfile import BasePackage, parse_base_lock, render_base_lock
from harness.errors import HostError, UsageError
from harness.system.store import Progress, Store, disk_errors, file_digest

_HELPERS = (Path("/usr/lib/apt/apt-helper"), Path("/usr/libexec/apt-helper"))
_TIMEOUT_S = 1800
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_NAMED_IN = (
    Path("/usr/share/python-apt/templates/Debian.info"),
    *(Path("/usr") / folder / name for name in ("debootstrap", "mmdebstrap") for folder in ("sbin", "bin")),
)
_DEBIANS = re.compile(r"https?://[\w.-]+/debian(?=/?[\s\"'])")
_NO_MIRROR = (
    "install debootstrap, which names one, or set HARNESS_DEBIAN_MIRROR to a mirror of Debian (the folder that holds "
    "`pool/` and `dists/`); a Dockerfile with `FROM name@sha256:...` needs none"
)
_INSTALL = re.compile(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", re.MULTILINE)


def mirrors(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The mirrors to try, best first: those that are set, else those known here, and the snapshot archive that is set.

    Each is the folder that holds `pool/`; several are separated by spaces.

    Raises:
        HostError: there is none.
    """
    snapshots = tuple(place.rstrip("/") for place in environment.get("HARNESS_DEBIAN_SNAPSHOT", "").split())
    chosen = tuple(place.rstrip("/") for place in environment.get("HARNESS_DEBIAN_MIRROR", "").split())
    found = (*(chosen or _apts_mirrors() or _named_mirrors()), *snapshots)
    if not found:
        raise HostError("no mirror of Debian is known here: neither apt nor an installed package has one", _NO_MIRROR)
    return found


def _apts_mirrors() -> tuple[str, ...]:
    """Those of Debian in apt's configuration; before `apt-get update`, those that look like one."""
    if not _has_apt():
        return ()
    template = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    targets = _ask("apt-get", "indextargets", "--format", template, "Created-By: Packages")
    lines = [line.split("|") for line in targets.splitlines()]
    ordered = sorted((line for line in lines if len(line) == 3), key=lambda line: line[1])
    if not lines:
        text = _ask("apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)", "Created-By: Packages")
        return _debians(text)
    return tuple(dict.fromkeys(uri.rstrip("/") for origin, _, uri in ordered if origin == "Debian"))


def _named_mirrors() -> tuple[str, ...]:
    """Those of the first installed package whose data names one."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in _NAMED_IN if path.is_file())
    return next(filter(None, map(_debians, texts)), ())


def _debians(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_DEBIANS.findall(text)))


def fetch_packages(
    packages: Iterable[BasePackage], store: Store, environment: Mapping[str, str], progress: Progress
) -> tuple[Path, ...]:
    """Have every locked package in the store, verified; fetch those that are not there yet.

    Returns:
        Their files, in the order given.

    Raises:
        HostError: no mirror has one of them, or none is known.
    """
    wanted = tuple(packages)
    with store.locked("debian", lambda: progress("waiting for another process that fetches Debian packages")):
        missing = [package for package in wanted if not store.find(package.sha256)]
        if missing:
            total = sum(package.size_bytes for package in missing)
            store.needs_network(f"Debian package {missing[0].name} {missing[0].version}", len(missing) - 1)
            progress(f"fetching {len(missing)} Debian packages, {total / 1e6:.0f} MB")
            _fetch(missing, store, mirrors(environment))
    return tuple(store.blob(package.sha256) for package in wanted)


def fetch_package(name: str, version: str, file: Path, environment: Mapping[str, str]) -> None:
    """Download one package by name and version to a file; the caller verifies it.

    It lies where apt's index says, else where a package usually lies whose source has the same name.

    Raises:
        HostError: no mirror has it, or none is known.
    """
    paths = pool_paths(name, version)
    for place in mirrors(environment):
        for pool_path in paths:
            _download(place, {file: (pool_path, "")})
            if file.is_file():
                return
    problem = f"no mirror has the Debian package {name} {version}"
    raise HostError(problem, "run `apt-get update`, or set HARNESS_DEBIAN_MIRROR to one that has it")


def pool_paths(name: str, version: str) -> tuple[str, ...]:
    """Where a mirror may have a package: as apt's index says, else where one usually lies whose source is called so."""
    prefix = name[:4] if name.startswith("lib") else name[:1]
    usual = f"pool/main/{prefix}/{name}/{name}_{version.split(':', 1)[-1]}"
    known = tuple(package.pool_path for package in _show([f"{name}={version}"] if _has_apt() else []))
    return known or (f"{usual}_all.deb", f"{usual}_amd64.deb")


def pool_url(place: str, pool_path: str) -> str:
    """The address of a package at a mirror."""
    return f"{place}/{urllib.parse.quote(pool_path, safe='/~')}"


def write_base_lock(root: Path, name: str, store: Store, environment: Mapping[str, str], progress: Progress) -> Path:
    """Resolve `lockfiles/<name>.in` (`name` is `base-<suite>`) and write `lockfiles/<name>.lock`.

    Dependencies are resolved by apt as on an empty amd64 system with this one suite, without recommendations.

    Raises:
        UsageError: there is no such file, or apt cannot satisfy it.
        HostError: there is no apt, no key of Debian's, or no mirror.
    """
    source = root / "lockfiles" / f"{name}.in"
    suite = name.removeprefix("base-")
    if not source.is_file():
        raise UsageError(f"{source} does not exist", "write the packages of the base into it, one a line")
    if not _has_apt():
        raise HostError("apt, which resolves the packages, is not installed here", "write this lock on a Debian system")
    if not _KEYRING.exists():
        raise HostError(
            "Debian's keys, which sign its index, are not here", "install the package debian-archive-keyring"
        )
    roots = [line.split("#")[0].strip() for line in source.read_text(encoding="utf-8").splitlines()]
    with store.scratch("apt") as folder:
        options = _private_apt(folder, f"{mirrors(environment)[0]} {suite} main")
        progress(f"reading the index of {suite}")
        _ask("apt-get", *options, "update", "-qq")
        plan = _ask("apt-get", *options, "install", "--simulate", "--yes", *filter(None, roots))
        chosen = [f"{package}={version}" for package, version, _ in _INSTALL.findall(plan)]
        packages = _show(chosen, options)
    header = (
        f"Debian {suite} main amd64: what {source.name} needs. Unpacked into an image's base, never installed.\n"
        f"Written by `harness lock {name}`: name version architecture size sha256 pool-path"
    )
    text = render_base_lock(packages, header)
    parse_base_lock(text, f"{name}.lock")
    target = source.with_suffix(".lock")
    target.write_text(text, encoding="utf-8")
    size = sum(item.size_bytes for item in packages)
    progress(f"{target.name}: {len(packages)} packages, {size / 1e6:.0f} MB")
    return target


def _fetch(missing: list[BasePackage], store: Store, places: tuple[str, ...]) -> None:
    with store.scratch("debian") as folder, disk_errors("fetching Debian packages"):
        for place in places:
            wanted = {folder / package.sha256.removeprefix("sha256:"): package for package in missing}
            _download(place, {path: (package.pool_path, package.sha256) for path, package in wanted.items()})
            for path, package in wanted.items():
                if path.is_file() and file_digest(path) == package.sha256:
                    store.add(path, package.sha256, package.name)
                    missing.remove(package)
                path.unlink(missing_ok=True)
            if not missing:
                return
    names = ", ".join(f"{package.name} {package.version}" for package in missing[:5])
    problem = (
        f"{len(missing)} of the locked Debian packages cannot be had: {names}{' ...' if len(missing) > 5 else ''}\n"
        f"  looked for in the cache{', in the archives' if store.archives else ''} and at {', '.join(places)}"
    )
    remedy = (
        "set HARNESS_DEBIAN_SNAPSHOT to the folder of a snapshot archive that has them, or HARNESS_ARCHIVE to a folder "
        "with their blobs; or lock the base again, which makes another image"
    )
    raise HostError(problem, remedy)


def _download(place: str, wanted: Mapping[Path, tuple[str, str]]) -> None:
    """Try to download (pool path, sha256 or "") to files; what fails is simply not there afterwards."""
    urls = {path: pool_url(place, item[0]) for path, item in wanted.items()}
    helper = next((path for path in _HELPERS if path.exists()), None)
    if helper and not place.startswith("file:"):
        triples = [
            part
            for path, item in wanted.items()
            for part in (urls[path], str(path), item[1].replace("sha256:", "SHA256:"))
            if part
        ]
        options = ("-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2")
        _run(str(helper), *options, "download-file", *triples)
        return
    for path, url in urls.items():
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as output:
                shutil.copyfileobj(answer, output)
        except (urllib.error.URLError, TimeoutError, ValueError):
            continue


def _private_apt(folder: Path, source: str) -> tuple[str, ...]:
    """Options that make apt look at one suite and at nothing of this machine but its keys."""
    for name in ("parts", "preferences", "lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {source}\n", encoding="utf-8")
    (folder / "status").touch()
    settings = {
        "Dir::State::status": folder / "status",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder,
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": folder / "parts",
        "Dir::Etc::Preferences": folder / "none",
        "Dir::Etc::PreferencesParts": folder / "preferences",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    return tuple(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))


def _show(specifiers: list[str], options: tuple[str, ...] = ()) -> tuple[BasePackage, ...]:
    """What apt's index says about `name=version`; packages that it does not know are left out."""
    if not specifiers:
        return ()
    packages = {}
    for stanza in _run("apt-cache", *options, "show", *specifiers).stdout.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        if {"Package", "Version", "Architecture", "Size", "SHA256", "Filename"} <= fields.keys():
            packages[fields["Package"]] = BasePackage(
                name=fields["Package"],
                version=fields["Version"],
                architecture=fields["Architecture"],
                size_bytes=int(fields["Size"]),
                sha256="sha256:" + fields["SHA256"],
                pool_path=fields["Filename"],
            )
    return tuple(packages[name] for name in sorted(packages))


def _has_apt() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("apt-cache") is not None


def _ask(*command: str) -> str:
    """What a command of apt's prints."""
    done = _run(*command)
    if done.returncode:
        said = done.stderr.splitlines()
        lines = [line for line in said if line.startswith("E:")] or said[-3:]
        problem = f"{command[0]} failed: {' '.join(lines)}"
        raise HostError(problem, "run `apt-get update`, and see what it says")
    return done.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        problem = f"{command[0]} took more than {_TIMEOUT_S} s"
        raise HostError(problem, "check the network, or set HARNESS_DEBIAN_MIRROR") from error
