"""Images in the engine: build one from a context, save, load and remove, and what the engine's faults mean.

The classic builder of the Engine API is used (1.41 and newer have it), so nothing has to be installed
beside the engine and a remote `DOCKER_HOST` works: everything goes through the API as streams.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

import docker
import docker.errors
import requests
from pydantic import ValidationError

from harness.documents.document import Model
from harness.errors import HostError, UsageError
from harness.images.layer_tar import CHUNK
from harness.images.saved_image import CanonicalImage, load_stream
from harness.system.store import Progress

_PATIENCE_S = 3600
_NUM_TRIES = 50
_LAYER_LINE = re.compile(r"^ ---> ([0-9a-f]{12,64})$", re.MULTILINE)
_CONTAINER_LINE = re.compile(r"^ ---> Running in ([0-9a-f]{12,64})$", re.MULTILINE)
_AGAIN = "see whether it still runs, then try again: the next build removes what this one has left in it"
_FULL = ("no space left on device", "disk quota exceeded")
_OFFLINE = (
    "temporary failure in name resolution",
    "temporary failure resolving",
    "name or service not known",
    "could not resolve host",
    "unable to resolve host",
    "no such host",
    "network is unreachable",
)


class EngineMessage(Model):
    """One line of what an engine says while it builds."""

    stream: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image as the engine knows it: `engine_id` is its id there, `diff_ids` its layers, lowest first."""

    engine_id: str
    diff_ids: tuple[str, ...]
    size_bytes: int


def find_image(client: docker.DockerClient, tag: str) -> LoadedImage | None:
    """The image under a tag, or None."""
    try:
        value = client.api.inspect_image(tag)  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        return None
    layers = (value.get("RootFS") or {}).get("Layers") or ()
    return LoadedImage(value["Id"], tuple(layers), int(value.get("Size") or 0))


def load_image(client: docker.DockerClient, image: CanonicalImage, tag: str) -> LoadedImage:
    """Load a canonical image under a tag, unless it is there.

    Raises:
        HostError: the engine did not take it as it is.
    """
    wanted = tuple(layer.digest for layer in image.layers)
    found = find_image(client, tag)
    if found and found.engine_id == image.image_id:
        return found
    with patience(client):
        for message in client.api.load_image(load_stream(image, tag)):  # type: ignore[no-untyped-call]
            _raise_error(message.get("error"), "loading the image")
    found = find_image(client, tag)
    if found is None or found.diff_ids != wanted:
        problem = f"the engine loaded {tag} with other layers than it was given"
        raise HostError(problem, "see the engine's log; a graph driver that changes files cannot be used")
    return found


def run_dockerfile(
    client: docker.DockerClient,
    context: Iterable[bytes],
    base: str,
    tag: str,
    progress: Progress,
    remember: Callable[[str], None],
) -> None:
    """Build a context's Dockerfile on a base, without network or cache, and tag the result.

    Whatever happens, the containers and intermediate images of this build are gone afterwards, if the engine lives.

    `remember` gets the name of everything that the engine makes on the way, as soon as the engine says it.

    Raises:
        UsageError: a step of the Dockerfile failed; the end of its output is in the problem.
        HostError: the engine's disk is full, or it stopped.
    """
    intermediate: dict[str, None] = {}
    output: list[str] = []
    remember(f"image {tag}")
    stands_on = find_image(client, base)
    base_id = stands_on.engine_id.removeprefix("sha256:") if stands_on else ""
    try:
        with contextlib.closing(_build_messages(client, context, base, tag)) as messages:
            for message in messages:
                text = message.stream
                for name in _CONTAINER_LINE.findall(text):
                    remember(f"container {name}")
                for name in _LAYER_LINE.findall(text):
                    if not base_id.startswith(name):
                        intermediate[name] = None
                        remember(f"image {name}")
                output = [*output, text][-40:]
                if text.upper().startswith("STEP "):
                    output = [text]
                    progress(text.strip().splitlines()[0][:110])
                _raise_error(message.error, "building the image", "".join(output))
    finally:
        _remove_intermediate(client, intermediate, tag)


def save_image(client: docker.DockerClient, tag: str) -> Iterator[bytes]:
    """The engine's archive of an image, in chunks."""
    with patience(client):
        yield from client.api.get_image(tag, chunk_size=CHUNK)


def remove_images(client: docker.DockerClient, names: Iterable[str]) -> list[str]:
    """Remove images and the untagged parents they leave, newest first; returns those that are in use."""
    in_use: list[str] = []
    for name in reversed(list(names)):
        try:
            client.api.remove_image(name, force=False, noprune=False)
        except docker.errors.ImageNotFound:
            continue
        except docker.errors.APIError:
            in_use.insert(0, name)
    return in_use


@contextlib.contextmanager
def engine_faults() -> Iterator[None]:
    """Turn what the Docker client raises into errors with a remedy.

    Raises:
        HostError: the engine refused, stopped answering, or its disk is full.
    """
    try:
        yield
    except docker.errors.APIError as error:
        detail = str(error.explanation or error)
        raise _fault(detail, "the engine refused") from error
    except docker.errors.DockerException as error:
        raise HostError(f"the engine cannot be used: {error}", "run `harness doctor`") from error
    except requests.RequestException as error:
        raise HostError(f"the engine stopped answering ({_reason(error)})", _AGAIN) from error


def _reason(error: BaseException) -> str:
    """What the operating system said; the HTTP libraries wrap it several times."""
    inner = error
    while wrapped := next((one for one in inner.args if isinstance(one, BaseException)), None):
        inner = wrapped
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    cut_off = isinstance(error, requests.exceptions.ChunkedEncodingError)
    return "in the middle of an answer" if cut_off else str(error)[:200]


@contextlib.contextmanager
def patience(client: docker.DockerClient) -> Iterator[None]:
    """Wait longer for an answer than the client does by default: packing a large image gives none for minutes."""
    before = client.api.timeout
    client.api.timeout = _PATIENCE_S
    try:
        yield
    finally:
        client.api.timeout = before


def _build_messages(
    client: docker.DockerClient, context: Iterable[bytes], base: str, tag: str
) -> Generator[EngineMessage, None, None]:
    """What the engine tells while it builds; leaving the loop early closes the connection, which ends the build.

    The request is made here because the Docker client's own `build` keeps the connection to itself, and sends this
    machine's registry credentials along.
    """
    options = {"t": tag, "nocache": "1", "rm": "1", "forcerm": "1", "networkmode": "none", "version": "1"}
    options["layers"] = "0"  # podman: keep no image of each step
    options["buildargs"] = json.dumps({"BASE": base})
    response = client.api.post(
        f"{client.api.base_url}/v{client.api.api_version}/build",
        params=options,
        data=context,
        headers={"Content-Type": "application/x-tar"},
        stream=True,
        timeout=_PATIENCE_S,
    )
    with response:
        if response.status_code != 200:
            raise _fault(response.text.strip()[-500:], "the engine refused to build")
        for line in response.iter_lines():
            if line.strip():
                yield _decoded(line)


def _decoded(line: bytes) -> EngineMessage:
    try:
        return EngineMessage.model_validate_json(line)
    except ValidationError as error:
        raise HostError("the engine stopped in the middle of an answer", _AGAIN) from error


def _remove_intermediate(client: docker.DockerClient, names: Iterable[str], tag: str) -> None:
    """Remove what a build left, all but its result; a build that was cut off needs a moment to end."""
    result = find_image(client, tag)
    left = [name for name in names if not (result and result.engine_id.removeprefix("sha256:").startswith(name))]
    for _ in range(_NUM_TRIES):
        left = remove_images(client, left)
        if not left or result:
            return
        time.sleep(0.2)


def _raise_error(error: str | None, doing: str, output: str = "") -> None:
    """Raise what a message tells of, if it does; `output` is what the step that failed has written."""
    if not error:
        return
    if any(sign in error.lower() for sign in _FULL):
        raise _fault(error, doing)
    lines = [line for line in output.splitlines() if line.strip()][-12:]
    problem = "\n  ".join([f"{doing}: {error}", *lines])
    said = output.lower()
    if any(sign in said for sign in _FULL):
        remedy = "free some of the engine's disk, for example with `docker image prune`"
        raise HostError(f"{problem}\n  no space was left for this step on the engine's disk", remedy)
    if any(sign in said for sign in _OFFLINE):
        remedy = (
            "add what the step needs to the image's .in file and run `harness lock`, or put it into images/<name>/; "
            "data and models are inputs of an experiment"
        )
        raise UsageError(f"{problem}\n  this step needs a network, and a build has none", remedy)
    raise UsageError(problem, "correct the Dockerfile or the lock, then build again")


def _fault(detail: str, doing: str) -> HostError:
    if any(sign in detail.lower() for sign in _FULL):
        return HostError(f"{doing}: the engine's disk is full", "free some, for example with `docker image prune`")
    return HostError(f"{doing}: {detail}", "see the engine's log")
