"""Tokens: identical to those of `tiktoken` for any text; estimates for other models; and clear errors."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import corpora
import taximeter
from taximeter.catalog.document import rates_in_force

os.environ["TIKTOKEN_CACHE_DIR"] = str(corpora.vocabularies())
import tiktoken  # noqa: E402 - it reads the variable

NAMES = ["o200k_base", "o200k_harmony", "cl100k_base", "p50k_base", "p50k_edit", "r50k_base", "gpt2"]
# One encoding of each pattern and vocabulary. The others differ only in special tokens.
KINDS = ["o200k_base", "cl100k_base", "p50k_base", "r50k_base"]
SAMPLE = 200_000


@pytest.fixture(scope="module")
def oracle():
    """Return `tiktoken`'s encodings. `r50k_base` has no file here, but its tokens are the first ones of `p50k_base`."""
    known = {name: tiktoken.get_encoding(name) for name in NAMES[:5]}
    p50k = known["p50k_base"]
    first = {token: rank for token, rank in p50k._mergeable_ranks.items() if rank < 50256}
    for name in NAMES[5:]:
        specials = {"<|endoftext|>": 50256}
        known[name] = tiktoken.Encoding(name, pat_str=p50k._pat_str, mergeable_ranks=first, special_tokens=specials)
    return known


def assert_same(name, oracle, text):
    ours, theirs = taximeter.encoding(name), oracle[name].encode_ordinary(text)
    assert ours.encode_ordinary(text) == theirs
    assert ours.count(text) == len(theirs)


# Equality with tiktoken.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("corpus", corpora.CORPORA)
def test_corpora_have_the_same_tokens_as_in_tiktoken(name, corpus, oracle):
    text = corpora.CORPORA[corpus](SAMPLE)
    assert_same(name, oracle, text)
    assert taximeter.encoding(name).decode(oracle[name].encode_ordinary(text)) == text


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", corpora.hostile(1))
def test_hostile_texts_have_the_same_tokens_as_in_tiktoken(name, kind, oracle):
    # At this size, tiktoken's splitter does not overflow its stack.
    assert_same(name, oracle, corpora.hostile(20_000)[kind])


@pytest.mark.parametrize("kind", corpora.hostile(1))
def test_hostile_texts_survive_encoding_and_decoding(kind):
    encoding = taximeter.encoding("o200k_base")
    text = corpora.hostile()[kind]
    tokens = encoding.encode_ordinary(text)
    assert encoding.count(text) == len(tokens)
    assert encoding.decode(tokens) == text


@pytest.mark.parametrize("name", KINDS)
def test_every_token_survives_decoding_and_encoding(name, oracle):
    ours, theirs = taximeter.encoding(name), oracle[name]
    for token in range(theirs.n_vocab):
        try:
            expected = theirs.decode_single_token_bytes(token)
        except KeyError:
            with pytest.raises(KeyError, match=str(token)):
                ours.decode_bytes([token])
        else:
            assert ours.decode_bytes([token]) == expected


@pytest.mark.parametrize("name", NAMES)
def test_attributes_of_encodings_equal_tiktokens(name, oracle):
    ours, theirs = taximeter.encoding(name), oracle[name]
    assert (ours.name, ours.max_token_value, ours.n_vocab) == (theirs.name, theirs.max_token_value, theirs.n_vocab)
    assert ours.special_tokens_set == theirs.special_tokens_set
    assert ours.eot_token == theirs.eot_token
    for token in theirs.special_tokens_set:
        number = theirs.encode_single_token(token)
        assert ours.encode(token, allowed_special="all") == [number]
        assert ours.decode([number]) == theirs.decode([number])


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_character_alone_and_in_context(name, oracle):
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    frames = ("{}", "a{}b ", "A{}\n", " {}1", "é{}É.", "'{}s", "\t{}/")
    # Unassigned characters of the upper planes are all of one class, so a sample of them is enough.
    chosen = [char for number, char in enumerate(characters) if unicodedata.category(char) not in {"Cn", "Co"} or number % 97 == 0]
    for start in range(0, len(chosen), 5000):
        assert_same(name, oracle, "".join(frame.format(char) for char in chosen[start : start + 5000] for frame in frames))


# Characters that the patterns distinguish: every category, with and without case, and the parts of contractions.
DECIDING = "aszSZtTrRevVEmMlLdDkKéÉßǅſKʰאあ中\u0301\u0489²Ⅷ19 \t\n\r\v\f\x1c\x85\xa0\u2003\u2028\u3000\u200d'’.,-/_<|>😀\ufffd\x00«𐐀𐐨𠀀𝟎\U0001d165\U000e0100"


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=400, deadline=None)
@given(text=st.text(st.sampled_from(DECIDING), max_size=120))
def test_sequences_of_characters_with_special_roles(name, oracle, text):
    assert_same(name, oracle, text)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    "don't",
                    "I'LL",
                    "it's",
                    "x'S",
                    "we'ſ",
                    "1234567",
                    "  ",
                    "\n",
                    "\r\n",
                    " \n ",
                    "//",
                    "!=",
                    "été",
                    "中文",
                    "HTTPServer",
                    "ß",
                ]
            ),
            st.text(max_size=12),
        ),
        max_size=60,
    ),
    joint=st.sampled_from(["", " ", "\n", "'"]),
)
def test_words_in_any_order(name, oracle, words, joint):
    assert_same(name, oracle, joint.join(words))


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300))
def test_bytes_decoded_with_replacement(name, oracle, content):
    assert_same(name, oracle, content.decode(errors="replace"))


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=60, deadline=None)
@given(piece=st.text(st.sampled_from("abeinst "), min_size=1, max_size=6), times=st.integers(1, 400), tail=st.text(max_size=3))
def test_repetition(name, oracle, piece, times, tail):
    assert_same(name, oracle, piece * times + tail)


@pytest.mark.parametrize("name", KINDS)
def test_long_words_of_few_letters(name, oracle):
    rng = random.Random(3)
    for letters in ("ab", "aeiou", "xyz", "abcdefghijklmnopqrstuvwxyz", "0123456789abcdef", "=-*", "あいう", "привет", "😀😂🤣"):
        for length in (40, 64, 65, 100, 1000):
            assert_same(name, oracle, "".join(rng.choices(letters, k=length)))


@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_decoding_undoes_encoding(text):
    for name in KINDS:
        encoding = taximeter.encoding(name)
        assert encoding.decode(encoding.encode_ordinary(text)) == text


@settings(max_examples=100, deadline=None)
@given(tokens=st.lists(st.integers(0, 50_000), max_size=40))
def test_any_tokens_are_decoded_like_by_tiktoken(tokens, oracle):
    for name in KINDS:
        ours, theirs = taximeter.encoding(name), oracle[name]
        assert ours.decode_bytes(tokens) == theirs.decode_bytes(tokens)
        assert ours.decode(tokens) == theirs.decode(tokens)
        assert ours.decode(tokens, errors="ignore") == theirs.decode(tokens, errors="ignore")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00", "\ude00\ud83d", "é\ud83d 中\udc00\n"])
@pytest.mark.parametrize("name", KINDS)
def test_lone_surrogates_are_encoded_like_by_tiktoken(name, text, oracle):
    assert_same(name, oracle, text)
    assert taximeter.encoding(name).encode(text) == oracle[name].encode(text)


# Special tokens.

LOOKALIKES = [
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "<|endoftext|", "|endoftext|>",
    "<|ENDOFTEXT|>", "<<|endoftext|>>", "<|<|endoftext|>|>", "<|endofprompt|>", "<|fim_prefix|>x<|fim_suffix|>", "<|é|>", "<|" * 50,
    "<|reserved_200018|><|start|>", "x  \n<|endoftext|>\n  y", "<|endoftext|>\ud800",
]  # fmt: skip


def outcome(call):
    try:
        return call()
    except ValueError:
        return ValueError


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", LOOKALIKES)
def test_special_tokens_follow_tiktokens_rules(name, text, oracle):
    ours, theirs = taximeter.encoding(name), oracle[name]
    for allowed in [set(), {"<|endoftext|>"}, {"<|endoftext|>", "<|nonsense|>"}, "all"]:
        for disallowed in [(), {"<|endoftext|>"}, {"<|endofprompt|>", "<|fim_prefix|>"}, {"x", "<|é|>"}, ["<|"], "all"]:
            arguments = {"allowed_special": allowed, "disallowed_special": disallowed}
            assert outcome(lambda: ours.encode(text, **arguments)) == outcome(lambda: theirs.encode(text, **arguments)), arguments


def test_a_disallowed_token_is_named():
    with pytest.raises(ValueError, match=r"<\|endoftext\|>.*allowed_special.*disallowed_special"):
        taximeter.encoding("cl100k_base").encode("a <|endoftext|>")


# Many texts, many threads.


def test_batches_have_the_counts_of_their_texts(oracle):
    languages = corpora.languages(SAMPLE)
    texts = [languages[at : at + 700] for at in range(0, 60_000, 700)] + ["", "a"]
    for name in KINDS:
        assert taximeter.encoding(name).count_batch(texts) == [len(oracle[name].encode_ordinary(text)) for text in texts]
    assert taximeter.encoding("gpt2").count_batch(text for text in ("a", "b c")) == [1, 2]
    assert taximeter.encoding("gpt2").count_batch([]) == []


@pytest.mark.slow
def test_threads_can_count_the_same_text():
    encoding = taximeter.encoding("o200k_base")
    texts = [corpora.languages(SAMPLE), corpora.source(SAMPLE), corpora.prose(SAMPLE)]
    expected = [encoding.count(text) for text in texts]
    barrier = threading.Barrier(24)

    def count(number):
        barrier.wait()
        return [encoding.count(texts[(number + turn) % 3]) for turn in range(6)]

    with ThreadPoolExecutor(24) as pool:
        for number, counts in enumerate(pool.map(count, range(24))):
            assert counts == [expected[(number + turn) % 3] for turn in range(6)]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_children_can_count_while_the_parents_threads_do():
    script = """
import os, sys, threading, taximeter
encoding = taximeter.encoding("cl100k_base")
text = "some words, and more of them; " * 20_000
expected = encoding.count(text)
stop = threading.Event()
def work():
    while not stop.is_set():
        encoding.count(text)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(30):
    child = os.fork()
    if child == 0:
        os._exit(0 if encoding.count(text) == expected and taximeter.encoding("gpt2").count("a b") == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
print("done")
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.slow
def test_a_long_count_releases_the_gil():
    encoding = taximeter.encoding("o200k_base")
    rng = random.Random(1)
    text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=2_000_000))

    def longest_stall() -> float:
        """Return how much of a count's time another thread did not run at most."""
        ended, stalls = threading.Event(), [0.0]

        def tick():
            last = time.perf_counter()
            while not ended.is_set():
                now = time.perf_counter()
                stalls.append(now - last)
                last = now

        ticker = threading.Thread(target=tick)
        ticker.start()
        begin = time.perf_counter()
        encoding.count(text)
        duration = time.perf_counter() - begin
        ended.set()
        ticker.join()
        return max(stalls) / duration

    # A count that holds the GIL stops the other thread. Several tries, because other processes may use the processors.
    assert any(longest_stall() < 0.5 for _ in range(5))


# Models.


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"), ("gpt-4o-mini-2024-07-18", "o200k_base"), ("gpt-5.1", "o200k_base"), ("o3-pro", "o200k_base"),
        ("gpt-4", "cl100k_base"), ("gpt-4-32k", "cl100k_base"), ("gpt-3.5-turbo-0125", "cl100k_base"), ("gpt-35-turbo", "cl100k_base"),
        ("ft:gpt-4o-mini:acme::1", "o200k_base"), ("openai/gpt-4o", "o200k_base"), ("azure/gpt-4o", "o200k_base"),
        ("openai/gpt-oss-120b", "o200k_harmony"), ("us.openai.gpt-oss-120b-1:0", "o200k_harmony"), ("openai/gpt-5:free", "o200k_base"),
        ("text-embedding-3-small", "cl100k_base"), ("davinci", "r50k_base"), ("code-davinci-edit-001", "p50k_edit"), ("gpt2", "gpt2"),
    ],
)  # fmt: skip
def test_openai_models_are_counted_exactly(model, encoding, oracle):
    text = "Some text, 12345 and 中文."
    expected = taximeter.TokenCount(len(oracle[encoding].encode_ordinary(text)), encoding, exact=True)
    assert taximeter.count_tokens(text, model=model) == expected
    found = taximeter.encoding_for_model(model)
    assert found.exact
    assert found.encoding.name == encoding


def test_models_known_to_tiktoken_have_its_encodings():
    from tiktoken import model as theirs

    for name, encoding in theirs.MODEL_TO_ENCODING.items():
        assert taximeter.encoding_for_model(name).encoding.name == encoding
    for prefix, encoding in theirs.MODEL_PREFIX_TO_ENCODING.items():
        assert taximeter.encoding_for_model(f"{prefix}x" if prefix.endswith("-") else prefix).encoding.name == encoding


@pytest.mark.slow
def test_every_model_of_the_catalog_is_counted():
    """The text has ten words but many more tokens, which shows counts by the word. Such models have rates, but none for tokens."""
    text = "你好，世界 " * 10
    rates = dict(rates_in_force(taximeter.default_meter._engine.catalog_document()))
    kinds = {"exact": 0, "estimate": 0, "words": 0}
    for provider, model, *_ in taximeter.default_meter.models():
        units = rates[f"{provider}/{model}"]
        for asked in ((model, provider), (f"{provider}/{model}", None)):
            found = taximeter.encoding_for_model(*asked)
            if found.encoding is None:
                assert units, asked
                assert not any("token" in unit for unit in units), asked
            else:
                assert taximeter.count_tokens(text, asked[0], provider=asked[1]).tokens > 13
            kinds["words" if found.encoding is None else "exact" if found.exact else "estimate"] += 1
        assert taximeter.encoding_for_model(model)
    assert kinds["words"] < 100 < kinds["exact"] < kinds["estimate"], kinds


@pytest.mark.parametrize("name", ["GPT-4o", "OPENAI/GPT-4O", "Azure/gpt-4o", "us.openai.gpt-oss-20b-1:0", "databricks-gpt-oss-120b"])
def test_model_names_are_case_insensitive_and_may_have_a_namespace(name):
    assert taximeter.encoding_for_model(name).exact


@pytest.mark.parametrize("name", ["mistral/o1-clone", "someone/gpt-4-finetune", "notopenai.gpt-4o", "anthropic/ada", "", " "])
def test_names_in_other_namespaces_are_not_openai_models(name):
    with pytest.raises(taximeter.UnknownNameError):
        taximeter.encoding_for_model(name)


def test_unlisted_openai_models_are_estimated_with_the_newest_encoding():
    assert taximeter.count_tokens("a b", "gpt-realtime") == (2, "o200k_base", False)


def test_bedrock_names_are_found_with_and_without_provider():
    for asked in (("us.anthropic.claude-sonnet-4-5-20250929-v1:0",), ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws")):
        assert taximeter.encoding_for_model(*asked).encoding.name == "cl100k_base"


def test_changed_aliases_are_followed(run):
    script = """
import taximeter
taximeter.init(prices={"aliases": {"my-deploy": "openai/gpt-4o"}})
print(taximeter.count_tokens("a", "my-deploy"))
taximeter.init(prices={"aliases": {"my-deploy": "openai/gpt-4"}})
print(taximeter.count_tokens("a", "my-deploy"))
"""
    first, second = run(script).stdout.splitlines()
    assert "'o200k_base', exact=True" in first
    assert "'cl100k_base', exact=True" in second


def test_other_models_are_estimated():
    text = "The quick brown fox jumps over the lazy dog. 你好"
    approximated = taximeter.encoding("cl100k_base").count(text)
    for model in ("claude-sonnet-4-5", "gemini-2.5-pro", "mistral-large-latest", "deepseek-chat"):
        assert taximeter.count_tokens(text, model=model) == (approximated, "cl100k_base", False)
    # Ten words, because a rate per second is not a rate for tokens.
    assert taximeter.count_tokens(text, model="whisper-1") == (13, "words", False)
    assert taximeter.count_tokens(text, encoding="words") == (13, "words", False)
    assert taximeter.count_tokens("", encoding="words") == (0, "words", False)


# Registered tokenizers.


@pytest.mark.parametrize("file", ["anthropic_tokenizer.json", "deepseek_tokenizer.json"])
def test_a_registered_tokenizer_is_exact(file):
    import tokenizers

    path = corpora.vocabularies() / file
    theirs = tokenizers.Tokenizer.from_file(str(path))
    theirs.no_truncation()
    theirs.no_padding()
    theirs.encode_special_tokens = True
    prefix = f"test-{file[:4]}"
    taximeter.register_tokenizer(prefix, path)
    ours = taximeter.encoding_for_model(f"host/{prefix}-large")
    assert ours.exact
    texts = [corpora.languages(30_000), corpora.source(30_000), "don't  stop\r\n\r\n😀 été", ""]
    for text in texts:
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encoding.encode(text) == expected
        assert ours.encoding.decode(expected) == theirs.decode(expected, skip_special_tokens=False)
        assert taximeter.count_tokens(text, model=f"{prefix}-8b") == (len(expected), prefix, True)
    assert ours.encoding.count_batch(texts) == [len(theirs.encode(text, add_special_tokens=False).ids) for text in texts]


def test_the_longest_prefix_and_the_latest_registration_are_used(tmp_path):
    def tokenizer(words):
        path = tmp_path / "tokenizer.json"
        vocabulary = {word: number for number, word in enumerate(["?", *words])}
        model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "?"}
        path.write_text(json.dumps({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model, "added_tokens": []}))
        return path

    taximeter.register_tokenizer("own", tokenizer(["a"]))
    taximeter.register_tokenizer("own-large", tokenizer(["a", "b"]))
    assert taximeter.encoding_for_model("own-small").encoding.encode("a b") == [1, 0]
    assert taximeter.encoding_for_model("own-large-2").encoding.encode("a b") == [1, 2]
    taximeter.register_tokenizer("own", tokenizer(["b"]))
    assert taximeter.encoding_for_model("own-small").encoding.encode("a b") == [0, 1]


def test_special_tokens_of_a_registered_tokenizer_follow_the_same_rules():
    import tokenizers

    path = corpora.vocabularies() / "anthropic_tokenizer.json"
    taximeter.register_tokenizer("Special", path)
    ours = taximeter.encoding_for_model("ft:special-1:acme").encoding
    theirs = tokenizers.Tokenizer.from_file(str(path))
    text = "a <EOT> b<META>"
    assert {"<EOT>", "<META>"} <= ours.special_tokens_set
    assert ours.encode(text, allowed_special="all") == theirs.encode(text, add_special_tokens=False).ids
    assert theirs.token_to_id("<EOT>") not in ours.encode_ordinary(text)
    assert ours.encode(text, disallowed_special=()) == ours.encode_ordinary(text)
    assert ours.count(text) == len(ours.encode_ordinary(text))
    with pytest.raises(ValueError, match="<EOT>"):
        ours.encode("a <EOT>")
    assert ours.max_token_value == max(theirs.get_vocab().values())
    with pytest.raises(KeyError, match="special has no token 10000000"):
        ours.decode([5, 10_000_000, 6])


@pytest.mark.parametrize("flags", [{"rstrip": True}, {"lstrip": True}, {"single_word": True}, {"normalized": True}])
def test_flags_of_special_tokens_are_followed(tmp_path, flags):
    import tokenizers
    from tokenizers import models, normalizers

    letters = ["?", "a", "b", " ", "<", "s", ">"]
    theirs = tokenizers.Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, [], unk_token="?"))
    theirs.normalizer = normalizers.Lowercase()
    theirs.add_special_tokens([tokenizers.AddedToken("<s>", **{"normalized": False, **flags}), tokenizers.AddedToken("<b>")])
    path = tmp_path / "tokenizer.json"
    theirs.save(str(path))
    taximeter.register_tokenizer("flags", path)
    ours = taximeter.encoding_for_model("flags-1").encoding
    for text in ("a<s> b", "a <s>b", "a<s>b", "a <S> b", "<b><s>", ""):
        assert ours.encode(text, allowed_special="all") == theirs.encode(text, add_special_tokens=False).ids
    assert ours.encode("a<s>b", allowed_special={"<s>"}, disallowed_special=()) == [1, theirs.token_to_id("<s>"), 2]
    with pytest.raises(ValueError, match="<b>"):
        ours.encode("a<b><s>", allowed_special={"<s>"})
    with pytest.raises(ValueError, match="'<s>'|\"<s>\""):
        ours.encode("a<s><b>", disallowed_special={"<b>", "<s>"})


def test_an_invalid_tokenizer_is_rejected(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a valid tokenizer\.json"):
        taximeter.register_tokenizer("x", path)
    with pytest.raises(ValueError, match="absent"):
        taximeter.register_tokenizer("x", tmp_path / "absent")
    with pytest.raises(ValueError, match="prefix must not be empty"):
        taximeter.register_tokenizer(" ", path)
    with pytest.raises(TypeError, match="prefix must be a str, not int"):
        taximeter.register_tokenizer(1, path)
    with pytest.raises(TypeError, match="path must be a str, not NoneType"):
        taximeter.register_tokenizer("x", None)


# Chats.


def test_a_chat_counts_its_texts_and_its_form():
    """The example of OpenAI's cookbook. The API counts 129 and 124 tokens for it."""
    messages = [
        {
            "role": "system",
            "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
        },
        {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
        {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
        {
            "role": "system",
            "name": "example_user",
            "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        },
        {"role": "system", "name": "example_assistant", "content": "Let's talk later when we're less busy about how to do better."},
        {
            "role": "user",
            "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        },
    ]
    assert taximeter.count_messages(messages, "gpt-4") == (129, "cl100k_base", False)
    assert taximeter.count_messages(messages, "gpt-4o") == (124, "o200k_base", False)


def test_tools_are_counted():
    """The other example of the cookbook. The API counts 105 and 101 tokens for it."""
    parameters = {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["location"],
    }
    function = {"name": "get_current_weather", "description": "Get the current weather in a given location", "parameters": parameters}
    messages = [
        {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
        {"role": "user", "content": "What's the weather like in San Francisco?"},
    ]
    tools = [{"type": "function", "function": function}]
    assert taximeter.count_messages(messages, "gpt-4", tools=tools).tokens == 105
    assert taximeter.count_messages(messages, "gpt-4o", tools=tools).tokens == 101
    assert taximeter.count_messages(messages, "gpt-4o", tools=[function]).tokens == 101


def test_parts_and_tool_calls_are_counted():
    text = taximeter.count_tokens("hello there", "gpt-4o").tokens
    bare = taximeter.count_messages([{"role": "user", "content": "hello there"}], "gpt-4o")
    assert bare.tokens == 3 + 3 + 1 + text
    parts = [{"type": "text", "text": "hello there"}, {"type": "image_url", "image_url": {"url": "data:…"}}]
    assert taximeter.count_messages([{"role": "user", "content": parts}], "gpt-4o") == bare
    call = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    assert taximeter.count_messages([{"role": "assistant", "content": None, "tool_calls": call}], "gpt-4o").tokens > 10
    assert taximeter.count_messages([], "gpt-4o").tokens == 3
    answered = [{"type": "tool_result", "content": [{"type": "text", "text": "hello there"}]}]
    assert taximeter.count_messages([{"role": "user", "content": answered}], "gpt-4o") == bare


def test_nested_schemas_are_counted():
    def tool(schema):
        return [{"name": "f", "input_schema": {"type": "object", "properties": {"a": schema}}}]

    def count(schema):
        return taximeter.count_messages([], "gpt-4o", tools=tool(schema)).tokens

    inner = {"type": "object", "properties": {"b": {"type": "string", "description": "many words " * 50}}}
    assert count(inner) > count({"type": "object"}) + 100
    for outer in ({"type": "array", "items": inner}, {"anyOf": [inner]}, {"$defs": {"x": inner}}):
        assert count(outer) > count({"type": "object"}) + 100
    within = {"type": "object", "properties": {}}
    within["properties"]["self"] = within
    assert count(within) > 0
    assert taximeter.count_messages([], "gpt-4o", tools=[{"type": "web_search_preview"}]).tokens > 3


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "messages must be a sequence of mappings, not NoneType"),
        ("hello", "messages must be a sequence of mappings, not str"),
        ({"role": "user"}, "messages must be a sequence of mappings, not dict"),
        (["hello"], r"messages\[0\] must be a mapping, not str"),
        ([{"role": "user", "content": 1}], r"messages\[0\]\['content'\] must be a str or a sequence of parts, not int"),
        ([{"role": "user", "content": b"text"}], r"messages\[0\]\['content'\] must be a str or a sequence of parts, not bytes"),
        ([{"role": "user", "content": ["a", 5]}], r"messages\[0\]\['content'\]\[1\] must be a mapping, not int"),
        ([{"role": "user", "tool_calls": {(1, 2): 3}}], r"messages\[0\]\['tool_calls'\] must be JSON"),
        ([{"role": b"user"}], r"messages\[0\]\['role'\] must be a str, not bytes"),
    ],
)
def test_an_invalid_chat_is_rejected_with_its_place(messages, message):
    with pytest.raises(TypeError, match=message):
        taximeter.count_messages(messages, "gpt-4o")


# Invalid input.


@pytest.mark.parametrize("value", [None, b"bytes", 1, 1.5, ["a"]])
def test_a_value_that_is_not_a_text_is_rejected(value):
    encoding = taximeter.encoding("gpt2")
    kind = type(value).__name__
    for call in (encoding.count, encoding.encode, encoding.encode_ordinary, lambda text: taximeter.count_tokens(text, "gpt-4o")):
        with pytest.raises(TypeError, match=f"text must be a str, not {kind}"):
            call(value)
    with pytest.raises(TypeError, match=rf"texts\[1\] must be a str, not {kind}"):
        encoding.count_batch(["a", value])
    with pytest.raises(TypeError, match=f"name must be a str, not {kind}"):
        taximeter.encoding(value)
    with pytest.raises(
        TypeError, match=f"model must be a str, not {kind}" if value is not None else "exactly one of model and encoding"
    ):
        taximeter.count_tokens("a", model=value)


def test_invalid_arguments_are_rejected():
    encoding = taximeter.encoding("gpt2")
    for texts in ("text", b"text", 1):
        with pytest.raises(TypeError, match="texts must be a sequence of str"):
            encoding.count_batch(texts)
    for tokens in ("text", 1, ["a"], [1.5], None):
        with pytest.raises(TypeError, match="tokens must be a sequence of int"):
            encoding.decode(tokens)
    for token in (50257, -1, 2**40):
        with pytest.raises(KeyError, match="gpt2 has no token"):
            encoding.decode([token])
    for names in ("some", 1, [1]):
        with pytest.raises(TypeError, match="allowed_special must be 'all' or a set of special tokens"):
            encoding.encode("a", allowed_special=names)
    with pytest.raises(TypeError, match="exactly one of model and encoding"):
        taximeter.count_tokens("a", "gpt-4o", encoding="gpt2")


def test_errors_for_unknown_names_list_the_nearest():
    for error in (ValueError, KeyError, taximeter.UnknownNameError):
        with pytest.raises(error, match='unknown encoding "o200k"; the nearest names are o200k_base, o200k_harmony'):
            taximeter.encoding("o200k")
    with pytest.raises(taximeter.UnknownNameError, match='unknown model "gtp-4o"; the nearest names are gpt-4o'):
        taximeter.count_tokens("a", model="gtp-4o")
    with pytest.raises(taximeter.UnknownNameError, match="claude-sonnet-4-5"):
        taximeter.encoding_for_model("claude-sonet-4-5")
    for name in ("zzzzzzzzzzz", "z" * 100_000, "\ud800zzzzzzzzzz"):
        with pytest.raises(taximeter.UnknownNameError, match="no known name is similar") as raised:
            taximeter.encoding_for_model(name)
        assert len(str(raised.value)) < 150


def test_an_encoding_is_pickled_by_its_name():
    encoding = pickle.loads(pickle.dumps(taximeter.encoding("cl100k_base")))
    assert repr(encoding) == "<Encoding 'cl100k_base'>"
    assert encoding == taximeter.encoding("cl100k_base")
    assert taximeter.encoding_for_model("gpt-4o") == taximeter.encoding_for_model("gpt-4o-mini")
    assert encoding.count("a b") == 2


def test_importing_the_package_does_not_import_tokens(run):
    script = """
import sys, taximeter
assert "taximeter.tokens" not in sys.modules
assert "count_tokens" in dir(taximeter)
print(taximeter.tokens.count_tokens("a b c", "gpt-4o").tokens)
"""
    assert run(script).stdout.strip() == "3"
