"""The address of a source that receives."""

from __future__ import annotations

from tailrace_plugins.converting.outcome import NewStage, Node, Outcome


def listen(stage: NewStage, host: str, port: str, node: Node, outcome: Outcome) -> None:
    """Set the address; one that others can reach, without proof of who sends, becomes that of this machine alone."""
    protected = any(key in stage.options for key in ("client_ca", "token_file", "password_file"))
    if host not in ("127.0.0.1", "localhost", "::1") and not protected:
        outcome.note(
            node,
            f"the old address, {host}:{port}, lets everybody send who can reach it; this one is for this machine "
            "alone. For others set client_ca or token_file (`tailrace kubeconfig --init` makes both) or insecure: true",
        )
        host = "127.0.0.1"
    stage.options["listen"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
