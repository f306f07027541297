"""Compares token counting with other packages, and measures hostile texts, memory and start-up time.

Each package uses its fastest way from a `str` to a number, in one thread. Some packages, taximeter included, cache counts. So there
are two figures: the median of counting the same text repeatedly, and the first count of another text of the same kind after that.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import corpora
import taximeter

os.environ["TIKTOKEN_CACHE_DIR"] = str(corpora.vocabularies())
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tiktoken

NAME = "o200k_base"
PROMPT = "Summarise the following support ticket in two sentences, please: thanks"
ROUNDS = 15

FIRST = """
import time, taximeter
begin = time.perf_counter(); taximeter.encoding("o200k_base").count("hello world"); print((time.perf_counter() - begin) * 1000)
"""
RESIDENT = """
import sys, taximeter.tokens
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
before = resident()
encoding = taximeter.encoding(sys.argv[1])
encoding.count("hello world")
loaded = resident()
sys.path.insert(0, sys.argv[2])
import corpora
texts = [make() for make in corpora.CORPORA.values()]
for text in texts: taximeter._core.encoding_of(text)  # caches the UTF-8 form in the str, so that counting does not add it
before_texts = resident()
for text in texts: encoding.count(text)
print(loaded - before, resident() - before_texts)
"""

Count = Callable[[str], int]


def _tokenizers(theirs: tiktoken.Encoding) -> Count:
    """Return a counter that uses `tokenizers` with the vocabulary of `tiktoken`, as a conversion to `tokenizer.json` makes it."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    ranks = theirs._mergeable_ranks
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}

    def text(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = []
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = [token[place : place + 1] for place in range(len(token))]
        while len(parts) > 2:
            pairs = [(ranks.get(left + right, rank), place) for place, (left, right) in enumerate(pairwise(parts))]
            _, place = min(pairs)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        merges.append((text(parts[0]), text(parts[1])))
    model = models.BPE({text(token): rank for token, rank in ranks.items()}, merges, ignore_merges=True)
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(theirs._pat_str), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>")])
    return lambda text: len(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])


def peers() -> Iterator[tuple[str, Count]]:
    """Yield every package with its way to count: taximeter first, then the package that all are compared with."""
    import gigatoken
    import quicktok
    import riptoken
    import rs_bpe
    import splintr

    yield "taximeter", taximeter.encoding(NAME).count
    theirs = tiktoken.get_encoding(NAME)
    yield "tiktoken", lambda text: len(theirs.encode_ordinary(text))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / f"{NAME}.tiktoken"
        file.symlink_to(corpora.vocabularies() / "fb374d419588a4632f3f557e76b4b70aebbca790")
        giga = gigatoken.Tokenizer.from_tiktoken(file)
    yield "gigatoken", lambda text: len(giga.encode(text))
    yield "quicktok-v1", quicktok.get_encoding(NAME).count
    split = splintr.Tokenizer.from_pretrained(NAME)
    yield "splintr-rs", lambda text: len(split.encode(text))
    yield "rs-bpe", rs_bpe.openai.o200k_base().count
    rip = riptoken.get_encoding(NAME)
    yield "riptoken", lambda text: len(rip.encode_ordinary(text))
    yield "tokenizers", _tokenizers(theirs)


def seconds(work: Callable[[], object], times: int = 1) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times


def _corpora(counts: dict[str, Count]) -> None:
    """Print the table of corpora."""
    for corpus, make in corpora.CORPORA.items():
        both = make(2 * corpora.MEGABYTE)
        text = both[: len(both) // 2]
        # Made again for each package, because a str caches its UTF-8 form after the first request.
        new = {name: "".join(both[len(both) // 2 :]) for name in counts}
        size, size_of_new = len(text.encode()), len(both.encode()) - len(text.encode())
        again, first = {}, {}
        for name, count in counts.items():
            count(text)
            again[name] = size / statistics.median(seconds(functools.partial(count, text)) for _ in range(ROUNDS)) / 1e6
            first[name] = size_of_new / seconds(functools.partial(count, new[name])) / 1e6
        tokens = counts["tiktoken"](text)
        print(f"{corpus}, {size:,} bytes, {tokens:,} tokens; MB/s, and times as fast as tiktoken:")
        for name, speed in sorted(again.items(), key=lambda one: -one[1]):
            print(
                f"  {name:12} {speed:6.1f} {speed / again['tiktoken']:5.1f} x;"
                f" another {size_of_new:,} bytes {first[name]:6.1f} {first[name] / first['tiktoken']:5.1f} x"
                f"{'' if counts[name](text) == tokens else '  counts differently'}"
            )


def _prompts(counts: dict[str, Count], prose: str) -> None:
    """Count one prompt repeatedly, and many different prompts of the same length."""
    width = len(PROMPT)
    many = [prose[place : place + width] for place in range(0, len(prose) - width, width)]
    for kind, texts in (("one prompt", [PROMPT] * 2000), (f"{len(many)} prompts, each once", many)):
        print(f"{kind}, of {width} characters:")
        median = {}
        for name, count in counts.items():
            # Made again for each package, because a str caches its UTF-8 form after the first request.
            own = ["".join(list(text)) for text in texts]
            rounds = [
                seconds(functools.partial(_count_all, count, own)) / len(own) for _ in range(ROUNDS if "once" not in kind else 1)
            ]
            median[name] = statistics.median(rounds)
        for name, time_taken in sorted(median.items(), key=lambda one: one[1]):
            print(f"  {name:12} {time_taken * 1e9:6.0f} ns, {median['tiktoken'] / time_taken:5.1f} x tiktoken")
    ask = functools.partial(taximeter.count_tokens, PROMPT, "gpt-4o")
    print(f"count_tokens() of one prompt, by the model's name: {seconds(ask, 5000) * 1e9:.0f} ns")


def _count_all(count: Count, texts: list[str]) -> None:
    for text in texts:
        count(text)


def _hostile() -> None:
    """Compare each kind of hostile text with prose, for the first count and for repeated counts."""
    encoding = taximeter.encoding(NAME)
    prose = corpora.prose(3 * corpora.MEGABYTE)[2 * corpora.MEGABYTE :]
    speeds = {}
    for kind, text in {"prose": prose, **corpora.hostile()}.items():
        size = len(text.encode())
        first, *again = [size / seconds(functools.partial(encoding.count, text)) / 1e6 for _ in range(1 + ROUNDS)]
        speeds[kind] = first, statistics.median(again)
    print("hostile texts, in MB/s and relative to prose: new text, and the same text again:")
    for kind, (first, again) in speeds.items():
        print(f"  {kind:17} {first:6.1f} {first / speeds['prose'][0]:5.2f}   {again:6.1f} {again / speeds['prose'][1]:5.2f}")


def _threads(text: str) -> None:
    encoding = taximeter.encoding(NAME)
    parts = [text[start : start + 4000] for start in range(0, len(text), 4000)] * 8
    encoding.count_batch(parts)
    one = statistics.median(seconds(lambda: [encoding.count(part) for part in parts]) for _ in range(ROUNDS))
    all_cores = statistics.median(seconds(lambda: encoding.count_batch(parts)) for _ in range(ROUNDS))
    print(f"count_batch of {len(parts)} texts on {os.cpu_count()} cores: {one / all_cores:.2f} x counting them one by one")


def _weights() -> None:
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "TAXIMETER_STATE_DIR": place, "PYTHONDONTWRITEBYTECODE": ""}

        def run(script: str, *arguments: str) -> list[float]:
            done = subprocess.run(
                [sys.executable, "-c", script, *arguments], env=environment, cwd=place, check=True, capture_output=True, text=True
            )
            return [float(number) for number in done.stdout.split()]

        first = [run(FIRST)[0] for _ in range(16)][1:]
        print(f"first count after import: {statistics.median(first):.1f} ms (worst of {len(first)}: {max(first):.1f} ms)")
        for name in ("o200k_base", "cl100k_base", "p50k_base", "r50k_base"):
            loaded, counted = run(RESIDENT, name, str(Path(__file__).parent))
            print(f"resident: {name} {loaded:.1f} MB, and {counted:.1f} MB of counts after 3 MB of text")


def main() -> None:
    _weights()
    counts = dict(peers())
    _corpora(counts)
    _prompts(counts, corpora.prose(3 * corpora.MEGABYTE)[2 * corpora.MEGABYTE :])
    _hostile()
    _threads(corpora.prose())
