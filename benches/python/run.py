"""Runs the benches. Each figure in the documentation comes from one run on one host.

`make bench` runs all, `python benches/python/run.py track` one of them.
"""

from __future__ import annotations

import sys

import bench_adoption
import bench_compat
import bench_delivery
import bench_faults
import bench_instrument
import bench_ledger
import bench_price
import bench_process
import bench_tokens
import bench_track

BENCHES = {
    "track": bench_track.main,
    "price": bench_price.main,
    "ledger": bench_ledger.main,
    "process": bench_process.main,
    "delivery": bench_delivery.main,
    "faults": bench_faults.main,
    "adoption": bench_adoption.main,
    "tokens": bench_tokens.main,
    "instrument": bench_instrument.main,
    "compat": bench_compat.main,
}

for name in sys.argv[1:] or BENCHES:
    print(f"== {name}", flush=True)
    BENCHES[name]()
