"""What stores have counted, for Prometheus: a registry to mount, or a collector to add to one's own.

Names are `pyengine_store_` and what `StoreStats` calls it: counters end in `_total`, times in `_seconds`. Labels are `store`,
as named here, and `layer`, empty for a composite as a whole.

Examples
--------
>>> from prometheus_client import make_asgi_app
>>> from pyengine import InMemoryTradeStore
>>> with_metrics = make_asgi_app(registry_of({"trades": InMemoryTradeStore()}))
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from pyengine.optional import MissingExtraError
from pyengine.store_errors import StoreError
from pyengine.stores.interfaces import StoreStats

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    missing = "prometheus-client must be installed for this: pip install 'pyengine[metrics]'"
    raise MissingExtraError(missing) from error

_STATES = ("closed", "half-open", "open")
_LABELS = ("store", "layer")


class Counted(Protocol):
    """Anything that has counted something: every order store and trade store."""

    def stats(self) -> StoreStats:
        """Return what was counted."""
        ...


class StoreCollector(Collector):
    """Asks stores for their statistics whenever Prometheus asks for metrics.

    Parameters
    ----------
    stores : mapping of str to store
        By the name that becomes the label `store`, such as "orders".

    Notes
    -----
    A store that can't answer has `pyengine_store_up` 0 and nothing else. Thread-safe; it keeps nothing.
    """

    def __init__(self, stores: Mapping[str, Counted]) -> None:
        self._stores = dict(stores)

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering asks no store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Ask every store and yield what it has counted."""
        families = _Families()
        found: list[tuple[str, str, StoreStats]] = []
        for name, store in self._stores.items():
            try:
                answer = store.stats()
                found += _flat(name, "" if answer.layers else answer.name, answer)
                up = 1
            except StoreError:
                up = 0
            families.gauge("up", "Whether the store could be asked for its statistics.", (name, ""), up)
        for name, layer, stats in found:
            families.add_counts((name, layer), stats)
        for name, layer, stats in found:
            families.add_gauges((name, layer), stats)
        yield from families.metrics.values()


def registry_of(stores: Mapping[str, Counted]) -> CollectorRegistry:
    """Make a registry of the metrics of stores alone, to be mounted with `make_asgi_app` or `make_wsgi_app`.

    Parameters
    ----------
    stores : mapping of str to store
        See `StoreCollector`; `Stores` of `build_stores` is taken by `registry_of({"orders": …, "trades": …})`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(stores))
    return registry


class _Families:
    """Metrics under construction, by name."""

    def __init__(self) -> None:
        self.metrics: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}

    def add_counts(self, labels: tuple[str, str], stats: StoreStats) -> None:
        """Take in what only grows; before any gauge, which gives way where both have one name."""
        for name, count in stats.counts.items():
            self.counter(name, labels, count)

    def add_gauges(self, labels: tuple[str, str], stats: StoreStats) -> None:
        """Take in what is so now."""
        for name, value in stats.gauges.items():
            self.gauge(name, f"{_words(name)} of a store or layer now.", labels, value)
        if stats.state:
            for state in _STATES:
                text = "Whether the circuit breaker of a layer is in this state."
                self.gauge("breaker_state", text, (*labels, state), int(state == stats.state), (*_LABELS, "state"))
        if stats.missed or stats.state:
            missed = sum(last - first + 1 for first, last in stats.missed)
            self.gauge("missed_positions", "Write positions that a layer will never get.", labels, missed)

    def counter(self, name: str, labels: tuple[str, ...], count: float) -> None:
        """Take in a number that only grows."""
        full = _full_name(name).removesuffix("_total")
        family = self.metrics.get(full)
        if family is None:
            family = self.metrics[full] = CounterMetricFamily(full, f"{_words(name)} of a store or layer.", labels=_LABELS)
        family.add_metric(labels, count)

    def gauge(self, name: str, text: str, labels: tuple[str, ...], value: float, label_names: tuple[str, ...] = _LABELS) -> None:
        """Take in a number as of now."""
        full = _full_name(name)
        family = self.metrics.get(full)
        if isinstance(family, CounterMetricFamily):
            full += "_now"
            family = self.metrics.get(full)
        if family is None:
            family = self.metrics[full] = GaugeMetricFamily(full, text, labels=label_names)
        family.add_metric(labels, value)


def _flat(store: str, layer: str, stats: StoreStats) -> Iterator[tuple[str, str, StoreStats]]:
    """Walk a store and the layers in it, with the names that become labels."""
    yield store, layer, stats
    for part in stats.layers:
        # What a layer's store has counted itself, apart from what the composite has counted about the layer.
        name = "store" if part.name == stats.name else part.name
        yield from _flat(store, f"{layer}/{name}" if layer else name, part)


def _full_name(name: str) -> str:
    name = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return "pyengine_store_" + (f"{name[:-2]}_seconds" if name.endswith("_s") else name)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
