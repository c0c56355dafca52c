"""Lets `python -m pyengine.cli` stand for `pyengine`."""

from __future__ import annotations

from pyengine.cli import main

main()
