"""Runs the benches. Each figure in the documentation comes from one run on one host.

`make bench` runs all, `python benches/python/run.py track` one of them, `make bench-quick` a few with fewer repetitions.
`years` runs only by name: it makes a ledger of 10,000,000 calls.
"""

from __future__ import annotations

import sys

import bench_adoption
import bench_clickhouse
import bench_compat
import bench_delivery
import bench_faults
import bench_instrument
import bench_instrument_peers
import bench_ledger
import bench_page
import bench_price
import bench_process
import bench_tokens
import bench_track
import bench_years

BENCHES = {
    "track": bench_track.main,
    "price": bench_price.main,
    "ledger": bench_ledger.main,
    "page": bench_page.main,
    "process": bench_process.main,
    "delivery": bench_delivery.main,
    "faults": bench_faults.main,
    "adoption": bench_adoption.main,
    "clickhouse": bench_clickhouse.main,
    "tokens": bench_tokens.main,
    "instrument": bench_instrument.main,
    "peers": bench_instrument_peers.main,
    "compat": bench_compat.main,
}

LONG = {"years": bench_years.main}
"""Benches that run only by name."""
QUICK = {"track": bench_track.quick, "ledger": bench_ledger.quick, "peers": bench_instrument_peers.quick}


def main(names: list[str]) -> None:
    """Run the benches with these names, or all; `--quick` takes the short forms."""
    benches = QUICK if "--quick" in names else BENCHES
    for name in [name for name in names if name != "--quick"] or benches:
        print(f"== {name}", flush=True)
        (benches | LONG)[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
