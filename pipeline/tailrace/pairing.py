"""Making an API server and a webhook source know each other: the command `tailrace kubeconfig`.

What belongs into a file goes to stdout, and what people should read to stderr. Only --embed without -o prints secrets.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tailrace.arguments import BAD_USAGE, fail

if TYPE_CHECKING:
    from urllib.parse import SplitResult

FLAGS: Final = """
Flags of the API server:
  --audit-webhook-config-file={kubeconfig}
      read once, at its start; a static pod must mount this file, and those that it names, at these very paths
  --audit-policy-file=POLICY
      says which events there are; without it there are none
  --audit-webhook-initial-backoff=30s
      a batch is tried 5 times and then lost: after 243 s without a receiver, and with the default (10s) after 81 s;
      meanwhile it takes up the API server's memory
  --audit-webhook-batch-max-wait=5s
      events that wait for their batch to fill are lost if the API server dies; by default they wait up to 30 s

Should the receiver answer 413, lower --audit-webhook-batch-max-size (default 400 events): by default nothing else
limits the size of a batch. Never put a proxy that redirects before the receiver: the API server takes a 301 or 302 for
success, and the batch is lost."""


def kubeconfig(
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The receiver, as the API server reaches it.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="The CA that signed its certificate.")] = None,
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The API server's client certificate.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of --cert.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One bearer token, which the API server reads anew each minute.")
    ] = None,
    embed: Annotated[bool, typer.Option("--embed", help="Write what the files hold in place of their paths.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it instead of stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --output replace a file.")] = False,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Make a throwaway CA, both certificates, a token and the kubeconfig here; "
            "--server is https://127.0.0.1:8888/ unless given.",
        ),
    ] = None,
) -> None:
    """Write the kubeconfig with which an API server sends audit events to a webhook source.

    Prints to stderr which flags the API server needs. Never put a proxy that redirects before the receiver: the API
    server takes a 301 or 302 for success, and the batch is lost.
    """
    from tailrace.credentials import load
    from tailrace.kubeconfig import KubeconfigError, parse_server, render, warnings

    try:
        if init is not None:
            if ca or cert or key or token_file or output or force:
                raise KubeconfigError(
                    "--init makes all files itself; of the other options it takes --server and --embed"
                )
            _make_kit(init, parse_server(server or "https://127.0.0.1:8888/"), embed)
            return
        if server is None:
            raise KubeconfigError(
                "--server URL is missing, which says where the receiver is; or let --init DIR make all"
            )
        url = parse_server(server)
        credentials = load(ca=ca, cert=cert, key=key, token=token_file)
        text = render(url, credentials, embed=embed)
        if output is None:
            print(text, end="", flush=True)
        else:
            _write(output, text, force)
        _advise("KUBECONFIG" if output is None else os.path.abspath(output), warnings(url, credentials.options))
    except KubeconfigError as error:
        fail(str(error), BAD_USAGE)


def _write(output: Path, text: str, force: bool) -> None:
    """Write a file that its owner alone may read, for it may hold secrets."""
    from tailrace.durable import Disk, replace_file
    from tailrace.kubeconfig import KubeconfigError

    path = Path(os.path.abspath(output))
    if os.path.lexists(path):
        if not force:
            raise KubeconfigError(f"--output {path} is already there; --force replaces it")
        if path.is_symlink() or not path.is_file():
            raise KubeconfigError(f"--output {path} is no plain file, which --force does not replace; name another")
    with _writing():
        replace_file(Disk(), path, text.encode(), mode=0o600)


def _make_kit(place: Path, server: SplitResult, embed: bool) -> None:
    """Make the files, and say what each is for and what to write into the config of the receiver."""
    from datetime import UTC, datetime

    import yaml

    from tailrace.durable import Disk
    from tailrace.kubeconfig import KubeconfigError, warnings

    try:
        from tailrace import kit
        from tailrace.certificates import VALID_FOR
    except ModuleNotFoundError:
        raise KubeconfigError(
            "--init makes certificates with the package cryptography, which is missing; pip install 'tailrace[tls]'"
        ) from None
    directory = os.path.abspath(place)
    now = datetime.now(UTC)
    parts = kit.make(directory, server, now, embed=embed)
    with _writing():
        kit.store(Path(directory), parts, Disk())
    print(f"Made in {directory}, to be made anew before {now + VALID_FOR:%Y-%m-%d}:", file=sys.stderr)
    for name, part in parts.items():
        print(f"  {name:<15} {part.purpose}{' (secret)' if part.secret else ''}", file=sys.stderr)
    print("\nThe source in the config of the receiver:", file=sys.stderr, flush=True)
    source = kit.source_options(directory, server)
    print(yaml.safe_dump(source, sort_keys=False, allow_unicode=True, width=sys.maxsize), end="", flush=True)
    _advise(os.path.join(directory, kit.KUBECONFIG), warnings(server, ["--ca"]))


def _advise(kubeconfig: str, warnings: Iterable[str]) -> None:
    print(FLAGS.format(kubeconfig=kubeconfig), file=sys.stderr)
    for warning in warnings:
        print(f"\nwarning: {warning}", file=sys.stderr)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    from tailrace.kubeconfig import KubeconfigError

    try:
        yield
    except OSError as error:
        raise KubeconfigError(
            f"{error.filename} cannot be written: {error.strerror}; name a place where this user may write"
        ) from None
