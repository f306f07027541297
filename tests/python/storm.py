"""Stress test of one ledger: taximeter's writers beside Python's `sqlite3` in the same processes, with forks, kills and other writers.

    python tests/python/storm.py --rounds 10 --seconds 8

Each round uses a new ledger. Four processes each run a meter that tracks and two threads of Python's `sqlite3`: read-only and
read-write readers, long snapshots, writes to their own table, checkpoints and VACUUM. They also fork children that sleep, exec, read
or meter. One process is killed every second. Two more processes write only with Python's `sqlite3`. At the end, the ledger must be
intact and its snapshots must have been consistent. Every event whose receipt was logged before a kill must be there once, and so must
every row that Python committed. The last line is a JSON object with the totals. The exit code is 1 if a round failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 3, "output_tokens": 1}
PROCESSES = 4
BUSY = ("locked", "busy")


class Log:
    """Log files that survive a kill: faults, receipts and counts."""

    def __init__(self, folder: Path, name: str) -> None:
        self.faults = os.open(folder / f"faults.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.notes = os.open(folder / f"notes.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.receipts = os.open(folder / f"receipts.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.counts = os.open(folder / f"counts.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def fault(self, what: str) -> None:
        os.write(self.faults, f"{what}\n".encode())

    def count(self, what: str) -> None:
        os.write(self.counts, f"{what}\n".encode())


class PythonSide:
    """A thread that uses Python's `sqlite3`."""

    def __init__(self, path: Path, log: Log, name: str, writes: bool) -> None:
        self.path, self.log, self.name, self.writes = path, log, name, writes
        self.random = random.Random(name)
        self.number = 0
        self.in_use = threading.Lock()  # held while a connection is open, so that no child inherits an open one

    def run(self, end: float) -> None:
        while time.time() < end:
            time.sleep(self.random.uniform(0.002, 0.02))
            with self.in_use:
                self.once()

    def once(self) -> None:
        steps = [(0.45, self.read_only), (0.65, self.read), (0.75, self.snapshot), (0.97, self.write), (0.99, self.checkpoint)]
        chance = self.random.random()
        step = next((step for below, step in steps if chance < below), self.vacuum)
        if step in {self.write, self.vacuum} and not self.writes:
            return
        try:
            step()
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in BUSY):
                self.log.count("busy")
            else:
                self.log.fault(f"{step.__name__}: {error!r}")

    def connect(self, query: str = "") -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(f"file:{self.path}{query}", uri=True, isolation_level=None))

    def read_only(self) -> None:
        with self.connect("?mode=ro") as connection:
            connection.execute("SELECT count(*) FROM events").fetchone()
        self.log.count("read")

    def read(self) -> None:
        with self.connect() as connection:
            connection.execute("SELECT user, count(*) FROM events GROUP BY user").fetchall()
        self.log.count("read")

    def snapshot(self) -> None:
        sums = "SELECT count(*), (SELECT ifnull(sum(calls), 0) FROM hourly) FROM events"
        with self.connect(self.random.choice(["", "?mode=ro"])) as connection:
            connection.execute("BEGIN")
            before = connection.execute(sums).fetchone()
            time.sleep(self.random.uniform(0.02, 0.3))
            after = connection.execute(f"{sums} NOT INDEXED").fetchone()
            check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            connection.execute("COMMIT")
        if before != after or before[0] != before[1] or check != "ok":
            self.log.fault(f"snapshot: {before} {after} {check}")
        self.log.count("snapshot")

    def write(self) -> None:
        with self.connect() as connection:
            for _ in range(self.random.randint(1, 4)):
                self.number += 1
                note = f"{self.name}-{self.number}"
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO notes VALUES (?, ?)", (note, "y" * self.random.randint(1, 2000)))
                connection.execute("COMMIT")
                os.write(self.log.notes, f"{note}\n".encode())

    def checkpoint(self) -> None:
        with self.connect() as connection:
            connection.execute(f"PRAGMA wal_checkpoint({self.random.choice(['PASSIVE', 'TRUNCATE', 'RESTART'])})").fetchone()

    def vacuum(self) -> None:
        with self.connect() as connection:
            connection.execute("VACUUM")


def outsider(path: Path, folder: Path, name: str, end: float) -> None:
    """Write to the ledger and check it, only with Python's `sqlite3`."""
    side = PythonSide(path, Log(folder, name), name, writes=True)
    while time.time() < end:
        time.sleep(side.random.uniform(0.01, 0.06))
        side.once()


def meters(name: str, log: Log, end: float, pause: float) -> None:
    """Track events, and log the receipt of each recorded one."""
    import taximeter

    randomly = random.Random(name)
    while time.time() < end:
        for _ in range(randomly.randint(1, 20)):
            if receipt := taximeter.track(**CALL, user=name):
                os.write(log.receipts, f"{receipt.id}\n".encode())
        # Sometimes long enough for the writer to close the ledger.
        time.sleep(0.7 if randomly.random() < 0.02 else randomly.uniform(0, pause))


def child(path: Path, folder: Path, name: str, chance: float) -> None:
    """Run a forked child: it sleeps, reads with Python's `sqlite3`, or meters as well."""
    log = Log(folder, name)
    if chance < 0.5:
        time.sleep(random.uniform(0.3, 2))
        return
    side = PythonSide(path, log, name, writes=False)
    end = time.time() + 0.6
    if chance < 0.65:
        side.run(end)
        log.count("child reads")
        return
    import taximeter

    thread = threading.Thread(target=side.run, args=(end,))
    thread.start()
    meters(name, log, end, 0.02)
    thread.join()
    taximeter.flush(5)
    log.count("child writes")


def worker(path: Path, folder: Path, name: str, end: float, writes: bool) -> None:
    import taximeter

    taximeter.init(instrument=False)
    log = Log(folder, name)
    sides = [PythonSide(path, log, f"{name}.{number}", writes) for number in range(2)]
    threads = [threading.Thread(target=side.run, args=(end,), daemon=True) for side in sides]
    threads.append(threading.Thread(target=meters, args=(name, log, end, 0.02), daemon=True))
    for thread in threads:
        thread.start()
    randomly = random.Random(f"{name} forks")
    children: list[int | subprocess.Popen[bytes]] = []
    number = 0
    while time.time() < end:
        time.sleep(randomly.uniform(0.2, 0.8))
        number += 1
        log.count("fork")
        chance = randomly.random()
        if chance < 0.25:
            children.append(subprocess.Popen(["sleep", f"{randomly.uniform(0.2, 1.5):.1f}"], close_fds=False))
            continue
        # A child may use Python's sqlite3 only if no thread of its parent used it during the fork.
        held = [side.in_use for side in sides] if chance >= 0.5 else []
        for lock in held:
            lock.acquire()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(path, folder, f"{name}c{number}", chance)
                code = 0
            except Exception as error:
                log.fault(f"child: {error!r}")
            finally:
                os._exit(code)
        for lock in held:
            lock.release()
        children.append(pid)
    for thread in threads:
        thread.join()
    # A flush ends when the ledger is refused once, for example during another process's long transaction.
    deadline = time.time() + 20
    while (report := taximeter.flush(5)).pending and time.time() < deadline:
        time.sleep(0.1)
    if report.pending:
        error = taximeter.stats()["destinations"]["ledger"]["last_error"]
        log.fault(f"flush: {report.pending} events are pending, {error}")
    for each in children:
        if isinstance(each, int):
            status = os.waitpid(each, 0)[1]
            if os.WIFSIGNALED(status):
                log.fault(f"child: signal {os.WTERMSIG(status)}")
        else:
            each.wait()


def round_of(number: int, seconds: float, writes: bool) -> collections.Counter[str]:
    folder = Path(tempfile.mkdtemp(prefix="storm"))
    state = folder / "state"
    path = state / "ledger.db"
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}

    def python(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__, *arguments], env=environment, stderr=errors)

    with open(folder / "stderr", "wb") as errors:
        python("--make", str(path)).wait()
        end = time.time() + seconds
        flags = ["--end", str(end), "--folder", str(folder), "--path", str(path), *(["--reads-only"] if not writes else [])]
        names = iter(f"w{number}x{index}" for index in range(10_000))
        workers = [python("--worker", next(names), *flags) for _ in range(PROCESSES)]
        outsiders = [python("--outsider", f"x{number}y{index}", *flags) for index in range(2)]
        deaths: collections.Counter[int] = collections.Counter()
        kills, next_kill = 0, time.time() + 1
        while time.time() < end:
            time.sleep(0.05)
            for index, process in enumerate(workers):
                if process.poll() is not None and time.time() < end - 0.5:
                    deaths[process.returncode] += 1
                    workers[index] = python("--worker", next(names), *flags)
            if next_kill < time.time() < end - 0.8:
                index = random.randrange(PROCESSES)
                workers[index].send_signal(signal.SIGKILL)
                workers[index].wait()
                kills += 1
                workers[index] = python("--worker", next(names), *flags)
                next_kill = time.time() + random.uniform(0.5, 1.3)
        for process in [*workers, *outsiders]:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                deaths[-9999] += 1
            if process.returncode:
                deaths[process.returncode] += 1
        time.sleep(2.2)  # for children of killed processes
        # Delivers the events of killed processes.
        subprocess.run([sys.executable, "-m", "taximeter", "drain"], env=environment, stdout=errors, stderr=errors, check=False)
    result = examine(folder, path)
    result["kills"] = kills
    result["crashes"] = sum(deaths.values())
    result["bad"] = int(any(result[key] for key in ("crashes", "damaged", "lost", "twice", "lost notes", "faults", "differs")))
    print(f"round {number}: {dict(result)} {dict(deaths)}", flush=True)
    if result["bad"]:
        print(f"  kept: {folder}", *lines(folder, "faults")[:5], (folder / "stderr").read_text()[-2000:], sep="\n  ", flush=True)
    else:
        shutil.rmtree(folder)
    return result


def lines(folder: Path, kind: str) -> list[str]:
    return [line for file in folder.glob(f"{kind}.*") for line in file.read_text().splitlines()]


def examine(folder: Path, path: Path) -> collections.Counter[str]:
    result: collections.Counter[str] = collections.Counter(lines(folder, "counts"))
    result["faults"] = len(lines(folder, "faults"))
    receipts, notes = lines(folder, "receipts"), lines(folder, "notes")
    result["acknowledged"], result["notes"] = len(receipts), len(notes)
    try:
        with closing(sqlite3.connect(path)) as connection:
            result["damaged"] = int(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok")
            ids = [row[0] for row in connection.execute("SELECT id FROM events NOT INDEXED")]
            kept = {row[0] for row in connection.execute("SELECT id FROM notes")}
            sums = connection.execute("SELECT sum(calls) FROM hourly").fetchone()[0]
    except sqlite3.Error as error:
        print("  ", repr(error))
        result["damaged"] = 1
        return result
    result["rows"] = len(ids)
    result["twice"] = len(ids) - len(set(ids))
    result["lost"] = len(set(receipts) - set(ids))
    result["lost notes"] = len(set(notes) - kept)
    result["differs"] = int(sums != len(ids))
    return result


def make(path: Path) -> None:
    import taximeter

    meter = taximeter.Meter()
    meter.track(**CALL)
    meter.close(10)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--reads-only", action="store_true", help="Python's threads beside our writers only read")
    for name in ("worker", "outsider", "end", "folder", "path", "make"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make(Path(given.make))
    elif given.worker:
        worker(Path(given.path), Path(given.folder), given.worker, float(given.end), not given.reads_only)
    elif given.outsider:
        outsider(Path(given.path), Path(given.folder), given.outsider, float(given.end))
    else:
        total: collections.Counter[str] = collections.Counter()
        for number in range(given.rounds):
            total += round_of(number, given.seconds, not given.reads_only)
        print(json.dumps({"bad": 0, "acknowledged": 0, **total}))
        return int(total["bad"] > 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
