"""Closed slices: files of a sink that the checkpoint has forgotten, for they got nothing for long.

A sink is named in the checkpoint by its type and the template of its path. So the state directory alone tells where its
files are, also those of a year ago, and no config is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from tailrace.checkpoint import State
from tailrace.recognition import TemplatePaths
from tailrace.template import Template


def closed_slices(state: State, failures: list[OSError]) -> Iterator[tuple[str, str]]:
    """Give each file that a template can have made and the checkpoint does not record, with the name of its sink.

    A template whose paths cannot be told from others is left out. Takes down directories that cannot be listed.
    """
    recorded = {path for position in state.sinks.values() for path in position}
    for sink in state.sinks:
        text = sink.partition(" ")[2]
        if not os.path.isabs(text):
            continue
        try:
            paths = TemplatePaths(Template(text, time=True))
        except ValueError:
            continue
        for below, _ in paths.find(failures, set()):
            path = os.path.join(paths.root, below)
            if paths.made(below) and path not in recorded:
                yield sink, path
