"""Installs the wheel into a clean environment of every CPython from 3.10 on this host, and uses it there.

Clean means: no compiler on the path, no other package, no package index. The test fails if a wheel is larger than 10 MB, requires a
package, or does not count, price, journal, report and tokenize. `make wheel` runs it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MAX_BYTES = 10 * 1000 * 1000
USE = """
import os, sys, tempfile
os.environ["TAXIMETER_STATE_DIR"] = tempfile.mkdtemp()
import taximeter
taximeter.init(team="smoke")
receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350)
assert str(receipt.cost_usd) == "0.0065", receipt
# The delivery thread may have delivered it before.
assert taximeter.flush()[1:] == (0, 0)
report = taximeter.Ledger().report(by=("team", "model"))
assert report.total.calls == 1 and str(report.total.cost_usd) == "0.0065", report
assert taximeter.count_tokens("Hello, world", "gpt-4o") == (3, "o200k_base", True)
assert taximeter.stats()["tier"] in ("mapped", "written"), taximeter.stats()
taximeter.close()
print("ok", sys.version.split()[0], taximeter.stats()["refused"]["no_space"] == 0)
"""


def interpreters() -> list[Path]:
    """Return every CPython from 3.10 on the path or under pyenv, one of each minor version."""
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep)]
    places += sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin"))
    found: dict[str, Path] = {}
    for place in places:
        for candidate in sorted(place.glob("python3*")):
            if not re.fullmatch(r"python3(\.\d+)?", candidate.name) or "shims" in candidate.parts:
                continue
            # Without ensurepip, which Debian packages separately, there are no virtual environments.
            ask = "import ensurepip, sys; print(sys.implementation.name, *sys.version_info[:2])"
            answer = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False)
            name, *version = answer.stdout.split() or [""]
            if name == "cpython" and [int(part) for part in version] >= [3, 10]:
                found.setdefault(".".join(version), candidate)
    # On Windows the program is called python.exe, and there is only one.
    found = found or {"{}.{}".format(*sys.version_info[:2]): Path(sys.executable)}
    return [found[version] for version in sorted(found, key=lambda text: int(text.partition(".")[2]))]


def check_contents(wheel: Path) -> None:
    """Check the wheel's size, tags and requirements."""
    size = wheel.stat().st_size
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        required = [
            line for line in archive.read(name).decode().splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line
        ]
        stray = [name for name in archive.namelist() if not name.startswith("taximeter")]
    print(f"{wheel.name}: {size / 1e6:.2f} MB")
    if size > MAX_BYTES or required or stray or "abi3" not in wheel.name:
        sys.exit(f"the wheel is not as required: {size} bytes, {required}, {stray}")


def main() -> None:
    (wheel,) = Path(sys.argv[1]).glob("taximeter-*.whl")
    check_contents(wheel)
    found = interpreters()
    if not found:
        sys.exit("no CPython 3.10 or newer was found")
    for python in found:
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory)
            subprocess.run([python, "-m", "venv", home / "venv"], check=True)
            inside = home / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
            install = [inside, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", wheel.absolute()]
            # PATH has only the environment's programs: no cargo, no compiler.
            environment = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP", "TMP") if name in os.environ}
            environment |= {"PATH": str(inside.parent), "HOME": directory, "USERPROFILE": directory}
            if shutil.which("cargo", path=environment["PATH"]):
                sys.exit("a compiler is on the path of the clean environment")
            subprocess.run(install, check=True, env=environment)
            subprocess.run([inside, "-c", USE], check=True, env=environment, cwd=directory)


if __name__ == "__main__":
    main()
