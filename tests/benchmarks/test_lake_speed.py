"""Event logs in Parquet: time and memory of the latency table and the delivery curve, and of a hand-written query.

The full measurement: ``VIBERKIT_BENCH_MESSAGES=10000000 pytest tests/benchmarks/test_lake_speed.py -n 0 -s``

Each runs in a process of its own. The query counts durations bucket by bucket, as a query for quantiles does not fit
into the memory. It estimates neither intervals nor dependence.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
from bench_logs import MESSAGES

BUCKETS = max(MESSAGES // 300_000, 4)
GENERATE = """
copy (
  with messages as (
    select uuid()::varchar as message_id, 1767225600000000 + (random() * 2592000000)::bigint * 1000 as accepted,
      ['AT', 'BG', 'DE', 'FR', 'GB', 'GR', 'HR', 'IT', 'RS', 'UA'][1 + (random() * 9.99)::int % 10] as country,
      random() as chance, random() as first, random() as second, random() as later from range({messages})),
  times as (select *, accepted + (50 + 150 * first)::bigint * 1000 as dispatched from messages),
  ends as (
    select *, case when chance < 0.93 then dispatched
      + (exp(0.9 + 1.1 * sqrt(-2 * ln(first + 1e-12)) * cos(6.28318 * second)) * 1000)::bigint * 1000 end as delivered,
      case when chance >= 0.95 then dispatched + (30000 + 600000 * first)::bigint * 1000 end as failed from times),
  events as (
    select message_id, country, unnest([
      {{'s': 'accepted', 'r': 0, 't': accepted}}, {{'s': 'dispatched', 'r': 2, 't': dispatched}},
      {{'s': 'delivered', 'r': 4, 't': delivered}}, {{'s': 'failed', 'r': 6, 't': failed}},
      {{'s': 'seen', 'r': 5, 't': case when later < 0.97 then delivered + (1000 + 300000 * later)::bigint * 1000 end}}
    ]) as e from ends)
  select message_id, e.s as state, e.r::int as state_rank, e.t as happened_us, country,
    1769904000000000 as observed_until_us from events where e.t is not null)
to '{file}' (format parquet, compression zstd)"""
MEASURE = """
import resource, sys, time, warnings
from glob import glob
import duckdb, pandas as pd
import viberkit as vk
warnings.simplefilter("ignore")
folder, what = sys.argv[1:]
hops = '''with pairs as (select country, state, lead(state) over w as next, lead(happened_us) over w - happened_us as d
  from read_parquet('{}') window w as (partition by message_id order by happened_us, state_rank))
  select country, state, next, d // 1000 as ms, count(*) as n from pairs where next is not null group by all'''
ends = '''with m as (select message_id, min(country) as country,
  min(case when state = 'accepted' then happened_us end) as a,
  min(case when state = 'delivered' then happened_us end) as d,
  min(case when state in ('failed', 'expired') then happened_us end) as f, max(observed_until_us) as u
  from read_parquet('{}') group by message_id)
  select country, (coalesce(d, f, u) - a) // 1000 as ms, d is null as is_open, f is null as no_failure, count(*) as n
  from m where a is not null group by all'''
began, cpu = time.perf_counter(), time.process_time()
if what == "query":
    connection = duckdb.connect(config={"memory_limit": "600MB", "preserve_insertion_order": "false"})
    parts = [[connection.sql(text.format(file)).df() for file in glob(f"{folder}/*/*")] for text in (hops, ends)]
    counts, curve = (pd.concat(frames) for frames in parts)
    keys = ["country", "state", "next"]
    counts = counts.groupby([*keys, "ms"])["n"].sum().reset_index()
    share = counts.groupby(keys)["n"].cumsum() / counts.groupby(keys)["n"].transform("sum")
    print(len([counts[share >= q].groupby(keys)["ms"].min() for q in (0.5, 0.95, 0.99)]), end=" ")
    curve.groupby(["country", "ms", "is_open", "no_failure"])["n"].sum()
else:
    log, cluster = vk.EventLog(folder), None if what == "independent" else "auto"
    vk.latency(log, by="country", quantiles=(0.5, 0.95, 0.99), cluster=cluster)
    vk.delivery_curve(log, by="country", cluster=cluster)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(time.perf_counter() - began, time.process_time() - cpu, peak)
"""


def test_figures_of_a_log_in_parquet(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        for bucket in range(BUCKETS):
            file = tmp_path / f"bucket={bucket}" / "events.parquet"
            file.parent.mkdir()
            connection.execute(GENERATE.format(messages=MESSAGES // BUCKETS, file=file))
    print(f"\n{MESSAGES:,} messages; ratios to the query")
    figures = {}
    for what in ("query", "independent", "dependent"):
        command = [sys.executable, "-c", MEASURE, str(tmp_path), what]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, cpu, peak = map(float, output.split()[-3:])
        figures[what] = seconds, cpu
        time, cpu_time = (value / base for value, base in zip(figures[what], figures["query"], strict=True))
        print(f"{what:12} {seconds:7.1f} s ({time:.2f}), CPU {cpu:7.1f} s ({cpu_time:.2f}), peak {peak:,.0f} MB")
