"""logstash's inputs `http` and `file`, as sources of tailrace."""

from __future__ import annotations

from typing import Final

from tailrace.document import Plain
from tailrace_plugins.converting.listening import listen
from tailrace_plugins.converting.logstashparsing import Attribute, Plugin
from tailrace_plugins.converting.logstashtexts import constant, constant_value
from tailrace_plugins.converting.outcome import NewStage, Outcome, Untranslatable

_PROCESS: Final = "it is about logstash's own process"
_LOOKS: Final = "how files are looked for and read needs no setting here"
_STATE: Final = "positions are part of the checkpoint in the state directory; --import-positions takes them over"

NEEDLESS: Final = {
    "id": "pipelines have names instead",
    "enable_metric": "/metrics is there for all",
    "ecs_compatibility": "no fields are added to events",
}
"""Options that any plugin may have."""

_PASSWORDS: Final = "PASSWORD_FILE"
_ANYBODY: Final = "0.0.0.0"  # noqa: S104 - what the old config means

_HTTP: Final = {
    "threads": "requests are taken by one thread, which waits for nothing",
    "max_pending_requests": "what there is no room for is answered with 503",
    "remote_host_target_field": "no fields are added to events",
    "request_headers_target_field": "no fields are added to events",
    "additional_codecs": "bodies are JSON",
    "ssl_handshake_timeout": "a handshake may take only so long",
    "ssl_cipher_suites": "Python's own choice of ciphers is taken",
    "ssl_supported_protocols": "TLS 1.2 and 1.3 are taken",
    "tls_min_version": "TLS 1.2 and 1.3 are taken",
    "tls_max_version": "TLS 1.2 and 1.3 are taken",
    "cipher_suites": "Python's own choice of ciphers is taken",
}
_FILE: Final = {
    "sincedb_path": _STATE,
    "sincedb_write_interval": _STATE,
    "sincedb_clean_after": _STATE,
    "stat_interval": _LOOKS,
    "discover_interval": _LOOKS,
    "close_older": _LOOKS,
    "file_chunk_count": _LOOKS,
    "file_chunk_size": _LOOKS,
    "file_sort_by": "rotated files are read from the oldest on",
    "file_sort_direction": "rotated files are read from the oldest on",
    "check_archive_validity": "a damaged archive is read as far as that can be done, and said",
}


def translate(plugin: Plugin, outcome: Outcome) -> NewStage:
    """Translate an input. Raises Untranslatable."""
    plugin.seen = True
    if plugin.name not in ("http", "file"):
        raise Untranslatable(f"there is no source like {plugin.name}; there are webhook (for http) and tail (for file)")
    stage = _http(plugin, outcome) if plugin.name == "http" else _file(plugin, outcome)
    stage.options["tag"] = "audit"
    codec = plugin.take("codec")
    if codec is not None:
        _codec(codec, plugin.name == "http", outcome)
    elif plugin.name == "file":
        outcome.note(plugin, "a line is not put into a field `message`: it is the event, in JSON")
    spare(plugin, {**NEEDLESS, **(_HTTP if plugin.name == "http" else _FILE)}, outcome)
    return stage


def spare(plugin: Plugin, needless: dict[str, str], outcome: Outcome) -> None:
    """Say of attributes why they are not needed."""
    for attribute in plugin.attributes:
        if not attribute.seen and attribute.name in needless:
            outcome.spare(attribute, needless[attribute.name])


def _codec(codec: Attribute, is_http: bool, outcome: Outcome) -> None:
    if codec.text() in ("json", "json_lines") or (is_http and codec.text() == "plain"):
        outcome.spare(codec, "events are JSON, and pass as the bytes that came")
    elif codec.text() == "plain":
        outcome.note(codec, "a line is not put into a field `message`: it is the event")
    else:
        outcome.fail(codec, "events are JSON here, one a line or several in a body")
    if isinstance(codec.value, Plugin):
        for option in codec.value.attributes:
            if option.name == "charset" and option.text().upper() in ("UTF-8", "UTF8"):
                outcome.spare(option, "events are UTF-8")
            else:
                outcome.fail(option, f"the codec {codec.text()} has no such option here")


def _file(plugin: Plugin, outcome: Outcome) -> NewStage:
    path = plugin.take("path")
    if path is None or not path.texts():
        raise Untranslatable("its path is missing")
    stage = NewStage({"type": "tail", "paths": [constant(each) for each in path.texts()]})
    exclude = plugin.take("exclude")
    if exclude is not None:
        stage.options["exclude"] = [constant(each) for each in exclude.texts()]
    begin = plugin.take("start_position")
    if begin is not None and begin.text() == "end":
        stage.options["read_from"] = "end"
    else:
        outcome.note(
            begin or path,
            'at its first start logstash reads from the end, unless start_position is "beginning"; this reads all '
            "there is, rotated files too (`read_from` says otherwise)",
        )
    _number(plugin, "max_open_files", "max_open_files", stage, outcome)
    mode = plugin.take("mode")
    if mode is not None and mode.text() == "tail":
        outcome.spare(mode, "tail follows files")
    elif mode is not None:
        outcome.fail(mode, "files are followed; `tailrace run --once` ends where they do, and none is deleted")
    delimiter = plugin.take("delimiter")
    if delimiter is not None and delimiter.text() not in ("\n", "\\n"):
        outcome.fail(delimiter, "lines end with a newline here")
    return stage


def _http(plugin: Plugin, outcome: Outcome) -> NewStage:
    stage = NewStage({"type": "webhook"})
    _tls(plugin, stage, outcome)
    user, password = plugin.take("user"), plugin.take("password")
    if user is not None or password is not None:
        node = password or user
        assert node is not None
        outcome.variables[_PASSWORDS] = "a file with a line user:password, those of the old config"
        outcome.note(node, "user and password are not copied: put them into a file, as user:password, and name it")
        stage.options |= {"password_file": f"${{{_PASSWORDS}}}"}
    _number(plugin, "max_content_length", "max_body_bytes", stage, outcome)
    code = plugin.take("response_code")
    if code is not None and code.text() != "200":
        outcome.fail(code, "events that are stored are answered with 200")
    port, host = plugin.take("port"), plugin.take("host")
    listen(
        stage,
        constant(host.text()) if host else _ANYBODY,
        constant(port.text()) if port else "8080",
        port or host or plugin,
        outcome,
    )
    return stage


def _tls(plugin: Plugin, stage: NewStage, outcome: Outcome) -> None:
    for name, ours in (
        ("ssl_certificate", "tls_cert"),
        ("ssl_key", "tls_key"),
        ("ssl_certificate_authorities", "client_ca"),
    ):
        given = plugin.take(name)
        if given is not None and given.texts():
            stage.options[ours] = constant(given.texts()[0])
            if len(given.texts()) > 1:
                outcome.fail(given, f"{ours} is one file; put the certificates together in it")
    wanted = plugin.take("ssl_verify_mode", "ssl_client_authentication")
    if wanted is not None and wanted.text() in ("none", "peer", "optional"):
        stage.options.pop("client_ca", None)
        if wanted.text() != "none":
            outcome.fail(wanted, "a client certificate is either asked for and needed, or not asked for")
    switch = plugin.take("ssl", "ssl_enabled")
    if switch is not None and not switch.is_true():
        for ours in ("tls_cert", "tls_key", "client_ca"):
            stage.options.pop(ours, None)


def _number(plugin: Plugin, name: str, ours: str, stage: NewStage, outcome: Outcome) -> None:
    given = plugin.take(name)
    if given is not None and isinstance(given.value, int):
        stage.options[ours] = given.value
    elif given is not None:
        outcome.fail(given, "it is no number")


def common(plugin: Plugin) -> dict[str, Plain]:
    """Give the fields that an input adds to its events."""
    fields: dict[str, Plain] = {}
    kind, tags = plugin.take("type"), plugin.take("tags")
    if kind is not None:
        fields["type"] = constant_value(kind.text())
    if tags is not None:
        fields["tags"] = [constant(each) for each in tags.texts()]
    return fields
