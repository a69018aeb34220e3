"""The process is known also where ``/proc`` shows nothing but processes."""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric, ProcessCollector

from depproxy.metrics.process import Process


def start_of(metrics: Iterable[Metric]) -> float:
    [start] = [metric for metric in metrics if metric.name == "process_start_time_seconds"]
    return start.samples[0].value


def test_the_start_is_told_without_proc_stat(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("/proc/self")
    told = start_of(Process(proc=str(tmp_path), registry=None).collect())
    assert abs(told - start_of(ProcessCollector(registry=None).collect())) < 2
