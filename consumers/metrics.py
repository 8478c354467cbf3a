"""What `/metrics` says of this process's readers: every line of one answer is of the same moment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from consumers import switchboard
from consumers.ledger import BUCKETS, Figures


class Readers(Collector):
    def collect(self) -> Iterator[Metric]:
        for figures in switchboard.figures_of_process():  # one: a server has one loop
            yield from families(figures)

    def describe(self) -> Iterator[Metric]:
        return families(Figures())


def families(now: Figures) -> Iterator[Metric]:
    yield _counter(
        "deliveries_owed", "Events owed to readers: one for each event and reader", now.owed
    )
    yield _counter("deliveries_done", "Of those, written to the connection", now.delivered)
    yield _by("deliveries_dropped", "Of those, not delivered, and why", "reason", now.dropped)
    pending = "Of those, still to come: owed = done + dropped + pending"
    yield GaugeMetricFamily("hub_deliveries_pending", pending, now.pending)
    connections = GaugeMetricFamily("hub_connections", "Connected clients", labels=["transport"])
    for transport, n in now.connections.items():
        connections.add_metric([transport], n)
    yield connections
    yield GaugeMetricFamily(
        "hub_connections_full", "Clients not fed now: they read too slowly", now.slow_now
    )
    yield _counter("gaps", "Times the log was read because the layer left a gap", now.gaps)
    yield _by("resets", "Positions that could not be continued, and why", "reason", now.resets)
    said = "From an event's publication to its hand-over to the readers here"
    sums = zip([*map(str, BUCKETS), "+Inf"], itertools.accumulate(now.buckets), strict=True)
    yield HistogramMetricFamily("hub_hand_over_seconds", said, list(sums), now.seconds)


def _counter(name: str, said: str, value: int) -> Metric:
    return CounterMetricFamily(f"hub_{name}", said, value)


def _by(name: str, said: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"hub_{name}", said, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
