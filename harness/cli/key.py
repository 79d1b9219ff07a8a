"""`harness key`: make a key to sign with, show its public half, and keep those of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.group import cli, json_option, print_json, tell

if TYPE_CHECKING:
    from harness.signing.known_keys import Known


@cli.group()
def key() -> None:
    """Make the key that signs your archives, and keep the keys of people you trust.

    A signature answers one question: who says that these runs took place? `harness verify` recomputes everything else
    from the evidence. So a signature is worth as much as you know about its key.

    \b
      harness key create lab                  once, on the machine that certifies
      harness archive tiny                    signs with it
      harness key show > lab.json             the public half: publish it, and its key id elsewhere
      harness key trust lab.json --name lab   at the reader's, after comparing the key id

    Keys are ed25519. The private half is in ~/.config/repro-harness/keys (or below $XDG_CONFIG_HOME), readable by you
    alone, without a password. In CI, name the file that the secret store provides: HARNESS_KEY=/path/to/key.pem. A
    checkout can name keys too, in manifests/keys/NAME.json; `harness verify` then says that the checkout names it.

    There is no authority, no log and no expiry. Whoever has the private half can sign anything, with any date: if
    somebody may have read it, make a new key and say so where you published the old one.
    """  # noqa: D301


@key.command()
@click.argument("name")
def create(name: str) -> int:
    """Make a key pair called NAME on this machine. An existing key is never overwritten.

    `harness archive` signs with your only key; with several, the one called `default`, or the one that --key names.
    """
    from harness.signing.keys import create_key
    from harness.signing.known_keys import config_folder

    made = create_key(name)
    tell(f"made {config_folder() / 'keys' / name}.pem, readable by you alone: keep it on this machine")
    tell(f"publish its public half: harness key show {name} > {name}.json")
    click.echo(f"key id {made.key_id}")
    return 0


@key.command(name="list")
@json_option("the keys")
@click.pass_obj
def list_keys(root: Path, as_json: bool) -> int:
    """List the keys that this machine and this checkout know."""
    from harness.signing.known_keys import checkout_keys, own_keys, trusted_keys

    found = (*own_keys(), *trusted_keys(), *checkout_keys(root))
    if as_json:
        print_json([_row(known) for known in found])
        return 0
    for known in found:
        click.echo(f"{known.source:<9} {known.name:<20} {known.key.key_id}")
    if not found:
        tell("no key is known here; make one: harness key create NAME")
    return 0


@key.command()
@click.argument("name", required=False)
@click.pass_obj
def show(root: Path, name: str | None) -> int:
    """Print the public half of the key NAME; without NAME, of the key that would sign.

    The key id goes to stderr: your readers compare it with the one that you published elsewhere.
    """
    from harness.signing.keys import load_signer
    from harness.signing.known_keys import find_known

    shown = load_signer(None).key if name is None else find_known(name, root).key
    click.echo(shown.render().decode("ascii"), nl=False)
    tell(f"key id {shown.key_id}")
    return 0


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Your name for whoever signs with it.")
def trust(file: Path, name: str) -> int:
    """Trust the public key in FILE: `harness verify` then shows its signatures under NAME.

    Compare the key id that is printed with one from another source: a paper, a web page, a person.
    """
    from harness.signing.known_keys import trust_key

    kept = trust_key(file, name)
    tell(f"compare this key id with what {name} published elsewhere")
    click.echo(f"key id {kept.key_id}")
    return 0


def _row(known: Known) -> dict[str, str]:
    return {"name": known.name, "source": known.source, "key_id": known.key.key_id, "public": known.key.hex}
