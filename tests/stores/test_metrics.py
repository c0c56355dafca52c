"""Metrics: every number that a store counts comes out under a name that Prometheus takes."""

from __future__ import annotations

import re
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pyengine.metrics import StoreCollector, registry_of
from pyengine.store_errors import StoreClosed
from pyengine.stores.interfaces import StoreStats


class Counting:
    """A store of somebody's own, reduced to what it has counted."""

    def __init__(self, stats: StoreStats | None) -> None:
        self.counted = stats

    def stats(self) -> StoreStats:
        if self.counted is None:
            raise StoreClosed("the store was closed")
        return self.counted


def scraped(registry: CollectorRegistry) -> dict[tuple[Any, ...], float]:
    """Read what Prometheus would read, in both of its formats."""
    found: dict[tuple[Any, ...], float] = {}
    # Newer clients would escape other names on the way out, older ones refuse them.
    assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", family.name) for family in registry.collect())
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            key = (sample.name, *(sample.labels[name] for name in ("store", "layer", "state") if name in sample.labels))
            assert key not in found
            found[key] = sample.value
    modern = generate_openmetrics(registry).decode()
    assert sum(len(family.samples) for family in parse_openmetrics(modern)) == len(found)
    return found


LAYERS = StoreStats(
    "composite",
    counts={"reads": 7},
    layers=(
        StoreStats("memory", counts={"hits": 5, "misses": 2}),
        StoreStats(
            "redis",
            counts={"hits": 1, "errors": 3},
            gauges={"queue_length": 4, "lag_s": 0.25},
            state="open",
            missed=((5, 9), (12, 12)),
        ),
        StoreStats("postgres", counts={"hits": 1}, gauges={"queue_length": 0, "lag_s": 0.0}, state="closed"),
    ),
)


def test_counters_and_gauges_of_each_layer() -> None:
    found = scraped(registry_of({"orders": Counting(LAYERS)}))
    assert found == {
        ("pyengine_store_up", "orders", ""): 1,
        ("pyengine_store_reads_total", "orders", ""): 7,
        ("pyengine_store_hits_total", "orders", "memory"): 5,
        ("pyengine_store_hits_total", "orders", "redis"): 1,
        ("pyengine_store_hits_total", "orders", "postgres"): 1,
        ("pyengine_store_misses_total", "orders", "memory"): 2,
        ("pyengine_store_errors_total", "orders", "redis"): 3,
        ("pyengine_store_queue_length", "orders", "redis"): 4,
        ("pyengine_store_queue_length", "orders", "postgres"): 0,
        ("pyengine_store_lag_seconds", "orders", "redis"): 0.25,
        ("pyengine_store_lag_seconds", "orders", "postgres"): 0,
        ("pyengine_store_breaker_state", "orders", "redis", "closed"): 0,
        ("pyengine_store_breaker_state", "orders", "redis", "half-open"): 0,
        ("pyengine_store_breaker_state", "orders", "redis", "open"): 1,
        ("pyengine_store_breaker_state", "orders", "postgres", "closed"): 1,
        ("pyengine_store_breaker_state", "orders", "postgres", "half-open"): 0,
        ("pyengine_store_breaker_state", "orders", "postgres", "open"): 0,
        ("pyengine_store_missed_positions", "orders", "redis"): 6,
        ("pyengine_store_missed_positions", "orders", "postgres"): 0,
    }


def test_a_single_store_is_its_own_layer_and_composites_nest() -> None:
    store = StoreStats("redis", counts={"hits": 2})
    parts = (StoreStats("memory", counts={"hits": 1}), StoreStats("redis", counts={"hits": 3}, layers=(store,)))
    nested = StoreStats("outer", layers=(StoreStats("inner", layers=parts),))
    found = scraped(registry_of({"trades": Counting(StoreStats("file", counts={"written": 3})), "nested": Counting(nested)}))
    assert found["pyengine_store_written_total", "trades", "file"] == 3
    assert found["pyengine_store_hits_total", "nested", "inner/memory"] == 1
    assert found["pyengine_store_hits_total", "nested", "inner/redis"] == 3, "what was counted about the layer"
    assert found["pyengine_store_hits_total", "nested", "inner/redis/store"] == 2, "what it has counted itself"


def test_names_that_prometheus_would_not_take() -> None:
    odd = StoreStats("mine", counts={"rows-read": 1, "seen_total": 2, "late": 3}, gauges={"late": 0.5, "größe": 1, "wait_s": 2})
    found = scraped(registry_of({"a": Counting(StoreStats("first", gauges={"late": 9})), 'b"\n': Counting(odd)}))
    assert found["pyengine_store_rows_read_total", 'b"\n', "mine"] == 1
    assert found["pyengine_store_seen_total", 'b"\n', "mine"] == 2
    assert found["pyengine_store_late_total", 'b"\n', "mine"] == 3
    assert found["pyengine_store_late_now", 'b"\n', "mine"] == 0.5
    assert found["pyengine_store_late_now", "a", "first"] == 9
    assert found["pyengine_store_gr__e", 'b"\n', "mine"] == 1
    assert found["pyengine_store_wait_seconds", 'b"\n', "mine"] == 2


def test_a_closed_store_hides_no_other() -> None:
    found = scraped(registry_of({"orders": Counting(None), "trades": Counting(StoreStats("memory", counts={"hits": 1}))}))
    assert found["pyengine_store_up", "orders", ""] == 0
    assert found["pyengine_store_hits_total", "trades", "memory"] == 1


def test_the_collector_joins_a_registry_without_asking() -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(StoreCollector({"orders": Counting(None)}))
    assert scraped(registry) == {("pyengine_store_up", "orders", ""): 0}


def test_the_registry_can_be_mounted() -> None:
    said: list[str] = []
    app = make_wsgi_app(registry_of({"orders": Counting(LAYERS)}))
    body = b"".join(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}, lambda status, _: said.append(status)))
    assert said == ["200 OK"]
    assert b'pyengine_store_hits_total{layer="memory",store="orders"} 5.0' in body
