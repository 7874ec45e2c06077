"""Event logs in Parquet: time and memory of the latency table and the delivery curve, and of a hand-written query.

The full measurement: ``VIBERKIT_BENCH_MESSAGES=10000000 pytest tests/benchmarks/test_lake_speed.py -n 0 -s``

Each runs in a process of its own. The query counts durations bucket by bucket, as a query for quantiles does not fit
into the memory, and takes a hash for the id. It estimates neither intervals nor dependence.
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
import duckdb
import viberkit as vk
warnings.simplefilter("ignore")
folder, what = sys.argv[1:]
hops = '''insert into hops with events as (
    select hash(message_id) as id, happened_us * 16 + state_rank as event, country from '{0}'),
  pairs as (select country, event, lead(event) over (partition by id order by event) as next from events)
  select country, event % 16, next % 16, (next // 16 - event // 16) // 1000, count(*)
  from pairs where next is not null group by all'''
ends = '''insert into ends with messages as (select any_value(country) as country,
    min(case when state = 'accepted' then happened_us end) as a, max(observed_until_us) as u,
    min(case when state = 'delivered' then happened_us end) as d,
    min(case when state in ('failed', 'expired') then happened_us end) as f from '{0}' group by hash(message_id))
  select country, (coalesce(d, f, u) - a) // 1000, d is null, f is null, count(*)
  from messages where a is not null group by all'''
quantiles = '''with counts as (select country, state, next, ms, sum(n) as n from hops group by all),
  shares as (select *, sum(n) over (w order by ms) / sum(n) over w as share from counts
    window w as (partition by country, state, next))
  select country, state, next, min(ms) filter (share >= 0.5), min(ms) filter (share >= 0.95),
    min(ms) filter (share >= 0.99), sum(n) from shares group by all'''
began, cpu = time.perf_counter(), time.process_time()
if what == "query":
    settings = {"memory_limit": "600MB", "preserve_insertion_order": "false", "temp_directory": folder + ".tmp"}
    connection = duckdb.connect(config=settings)
    connection.sql("create table hops(country varchar, state int, next int, ms bigint, n bigint)")
    connection.sql("create table ends(country varchar, ms bigint, is_open bool, no_failure bool, n bigint)")
    for file in glob(f"{folder}/*/*"):
        connection.sql(hops.format(file))
        connection.sql(ends.format(file))
    print(len(connection.sql(quantiles).fetchall()), end=" ")
    connection.sql("select country, ms, is_open, no_failure, sum(n) from ends group by all").to_arrow_table()
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
