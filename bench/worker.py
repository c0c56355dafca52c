"""One section in a process of its own: `python -m bench.worker NAME`; the last line of its output is the section as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from bench.figures import Section
from bench.sizes import FULL, QUICK, Sizes
from bench.template import SECTIONS


def measured(name: str, sizes: Sizes, harness: Path | None, environments: Path) -> Section:
    """Measure one section."""
    module = importlib.import_module(f"bench.measures.{name}")
    if name == "flash1":
        section: Section = module.measure_with(harness, sizes)
    elif name == "peers":
        section = module.measure_with(environments, sizes)
    else:
        section = module.measure(sizes)
    return section


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SECTIONS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--harness", type=Path)
    parser.add_argument("--envs", type=Path, default=Path(".peers"))
    options = parser.parse_args()
    section = measured(options.name, QUICK if options.quick else FULL, options.harness, options.envs)
    print(json.dumps(section.as_json()), flush=True)


if __name__ == "__main__":
    main()
