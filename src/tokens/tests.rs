//! Compares the tokens with those of `tiktoken-rs`: its vocabularies, its patterns in their original engine, and its step-by-step
//! merge.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::thread;

use proptest::prelude::*;
use tiktoken_rs::CoreBPE;

use super::known::Known;
use super::merge::Merger;
use super::models::encoding_of;
use super::packed::{self, BYTES, GAP};
use super::table::{Table, key, load};
use super::unknown::nearest;
use super::windows::Windows;
use super::{Encoding, Source, Token, UnknownName, backtrack, names};

static REFERENCES: LazyLock<Vec<(&str, CoreBPE)>> = LazyLock::new(|| {
    vec![
        ("o200k_base", tiktoken_rs::o200k_base().unwrap()),
        ("cl100k_base", tiktoken_rs::cl100k_base().unwrap()),
        ("p50k_base", tiktoken_rs::p50k_base().unwrap()),
        ("r50k_base", tiktoken_rs::r50k_base().unwrap()),
    ]
});

fn assert_same(text: &str) {
    for (name, reference) in REFERENCES.iter() {
        let (ours, theirs) = (Encoding::named(name).unwrap(), reference.encode_ordinary(text));
        assert_eq!(ours.encode_ordinary(text), theirs, "{name} of {text:?}");
        // Count twice, because the second count comes from the cache.
        assert_eq!((ours.count(text), ours.count(text)), (theirs.len(), theirs.len()), "{name} of {text:?}");
        assert_eq!(ours.decode(&theirs).unwrap(), text.as_bytes());
    }
}

/// The masks of [`super::pieces`] cover 64 bytes, and whatever they decide can lie across that boundary.
#[test]
fn pieces_do_not_depend_on_their_position() {
    let cases = [
        "don't",
        "x's's",
        "WE'LL go",
        "a'ſ b",
        "12345678",
        "  \n  \n x",
        "\t\tif",
        " ...\n\n/path",
        ";\n//x",
        "é ",
        "a\u{301}B",
        "A中b",
        "\u{3000} x",
        "'s",
        "''s",
        "\r\n\r\n",
        "   ",
        "a  ",
        "\u{A0}a",
        "HTTPServer",
        "²³4",
        "#\u{301}é",
        "x\u{85}y",
        "中A ",
        "é\n",
        "\n      \n x",
    ];
    for case in cases {
        for before in 0..130 {
            assert_same(&format!("{}{case}", "b".repeat(before)));
            assert_same(&format!("{}{case} and more of it", " ".repeat(before)));
        }
    }
}

#[test]
fn long_pieces_have_the_same_tokens_as_step_by_step_merging() {
    let mut random = fastrand::Rng::with_seed(5);
    for letters in ["ab", "aeiou", "etaoinshr", "xyz", "=-", " \t", "あいう", "привет", "😀😂🤣", "\u{FFFD}(a"]
    {
        let letters: Vec<char> = letters.chars().collect();
        for length in [30, 63, 64, 65, 66, 128, 129, 700] {
            assert_same(&(0..length).map(|_| *random.choice(&letters).unwrap()).collect::<String>());
        }
    }
    for text in [
        format!("{}\t", " ".repeat(28)),
        format!("{}\t", " ".repeat(127)),
        format!("{}.", "-".repeat(128)),
        format!("{}\n\t", " ".repeat(97)),
    ] {
        assert_same(&text.repeat(40));
    }
    // The cache must not confuse pieces of different lengths, whatever they end in.
    for length in 1..=130 {
        assert_same(&"\0".repeat(length));
        assert_same(&format!("{}{}", "!".repeat(20), "\0".repeat(length)));
    }
    for piece in ["a", "aa", "ab", " ", "\n", " \n", "=", "ha", "😀", "的", "0"] {
        for times in [63, 64, 65, 127, 128, 129, 1000] {
            assert_same(&piece.repeat(times));
            assert_same(&format!("{}x", piece.repeat(times)));
        }
    }
}

/// Backtracking handles pieces that cannot be split into windows. No text of these tests needs it, so it is called directly.
/// The store of windows is small. Windows that it has forgotten are merged again.
#[test]
fn a_window_is_merged_once_until_the_store_is_full() {
    let mut windows = Windows::default();
    let text = |number: u32| number.to_le_bytes().repeat(32);
    let mut merged = 0;
    for round in 0..2 {
        for number in (0..20_000).flat_map(|number| [number, number / 2]) {
            let mut found = vec![7];
            windows.tokens(&text(number), &mut found, |found| {
                merged += 1;
                found.extend([number; 64]);
            });
            assert_eq!(found[..2], [7, number], "round {round}");
            assert_eq!(found.len(), 65);
        }
    }
    assert!((40_001..70_000).contains(&merged), "{merged}");
}

#[test]
fn backtracking_finds_the_same_tokens_as_merging() {
    let mut random = fastrand::Rng::with_seed(9);
    for source in [Source::O200k, Source::Cl100k, Source::P50k, Source::R50k] {
        let vocabulary = source.vocabulary();
        let (mut known, mut merger, mut tokens) = (Known::new(), Merger::new(), Vec::new());
        for letters in ["ab", "etaoinshr", " \t", "=-", "あいう", "привет", "😀😂", "  \n", "0123"] {
            let letters: Vec<char> = letters.chars().collect();
            for length in [65, 130, 300, 900] {
                let random: String = (0..length).map(|_| *random.choice(&letters).unwrap()).collect();
                let regular =
                    format!("{}{}", letters[0].to_string().repeat(length % 31), letters[1]).repeat(length / 8);
                for text in [random.as_bytes(), regular.as_bytes()] {
                    backtrack::encode(&mut known, &vocabulary, text, 0, text.len(), &mut tokens);
                    assert_eq!(tokens, merger.merge(&vocabulary, text, 0, text.len()), "{letters:?} {length}");
                }
            }
        }
    }
}

#[test]
fn every_token_decodes_to_the_same_bytes() {
    for (name, reference) in REFERENCES.iter() {
        let ours = Encoding::named(name).unwrap();
        for token in 0..=ours.largest() {
            assert_eq!(ours.decode(&[token]).ok(), reference.decode_bytes(&[token]).ok(), "{name} {token}");
        }
    }
}

#[test]
fn only_allowed_special_tokens_are_encoded_as_such() {
    let ours = Encoding::named("cl100k_base").unwrap();
    let text = "a<|endoftext|> <|fim_prefix|><|endoftext|b|><|endofprompt|>";
    let reference = &REFERENCES[1].1;
    for allowed in [&[][..], &["<|endoftext|>"], &["<|endofprompt|>", "<|fim_prefix|>"]] {
        let allowed: HashSet<&str> = allowed.iter().copied().collect();
        assert_eq!(ours.encode(text, |token| allowed.contains(token)), reference.encode(text, &allowed).unwrap().0);
    }
    assert_eq!(ours.encode(text, |_| true), reference.encode_with_special_tokens(text));
    assert_eq!(ours.find_special(text, |token| token != "<|endoftext|>"), Some("<|fim_prefix|>"));
    assert_eq!(ours.find_special("<|endoftext", |_| true), None);
    assert_eq!(ours.find_special(&"<|".repeat(100_000), |_| true), None);
}

#[test]
fn a_vocabulary_survives_packing_and_unpacking() {
    let bytes: [u8; BYTES] = std::array::from_fn(|place| 255 - place as u8);
    let halves = vec![[1, 2], GAP, [300, 70_000], [0xFF_FFFE, 0]];
    let packed = packed::pack(&bytes, &halves).unwrap();
    assert_eq!(packed::unpack(&packed).unwrap(), (bytes, halves));
    assert_eq!(packed::unpack(&packed::pack(&bytes, &[]).unwrap()).unwrap(), (bytes, Vec::new()));
    assert!(packed::unpack(&packed[..packed.len() - 1]).is_err());
    assert!(packed::unpack(b"").is_err());
}

#[test]
fn names_and_models_map_to_encodings_and_typos_to_similar_names() {
    for name in names() {
        assert_eq!(Encoding::named(name).unwrap().name(), name);
    }
    assert_eq!(
        Encoding::named("o200k").unwrap_err().to_string(),
        "unknown encoding \"o200k\"; the nearest names are o200k_base, o200k_harmony"
    );
    assert!(
        Encoding::named("abacus")
            .unwrap_err()
            .to_string()
            .contains("the encodings are o200k_base, o200k_harmony, cl100k_base")
    );
    let long = UnknownName::model(&"é".repeat(1000), ["gpt-4"].into_iter()).to_string();
    assert_eq!(long, format!("unknown model {:?}; no known name is similar", "é".repeat(80)));
    assert_eq!(encoding_of("ft:gpt-3.5-turbo-0613:acme::1"), Some("cl100k_base"));
    assert_eq!(encoding_of("OpenRouter/OpenAI/o3-mini:nitro"), Some("o200k_base"));
    assert_eq!(encoding_of("us.openai.gpt-oss-20b-1:0"), Some("o200k_harmony"));
    for other in [
        "not-gpt-4o",
        "mistral/o1-clone",
        "someone/gpt-4-finetune",
        "notopenai.gpt-4o",
        "a.b.openai.gpt-4o",
        "gpt-9-nova",
    ] {
        assert_eq!(encoding_of(other), None, "{other}");
    }
    assert_eq!(nearest("gtp4", ["gpt-4", "gpt-4o", "claude"].into_iter()), ["gpt-4"]);
    assert_eq!(nearest("", ["gpt-4"].into_iter()), Vec::<&str>::new());
}

#[test]
fn batches_and_concurrent_calls_count_like_single_calls() {
    let ours = Encoding::named("o200k_base").unwrap();
    let text: String = (0..40_000).fold(String::new(), |mut text, number| {
        let _ = write!(text, "word{number} ");
        text
    });
    let texts: Vec<&str> = text.as_bytes().chunks(997).map(|part| str::from_utf8(part).unwrap()).collect();
    let expected: Vec<usize> = texts.iter().map(|text| ours.encode_ordinary(text).len()).collect();
    // More threads than caches.
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| assert_eq!(ours.count_batch(&texts), expected));
        }
    });
}

/// Characters that make a difference in the patterns.
const DISTINCTIVE: &str = "aszSZtTrRevVEmMlLdDkKéÉßǅſKʰאあ中\u{301}\u{489}²Ⅷ19 \t\n\r\u{B}\u{C}\u{1C}\u{85}\u{A0}\u{2003}\u{2028}\u{3000}\u{200D}'’.,-/_<|>😀\u{FFFD}\0«𐐀𐐨𠀀𝟎\u{1D165}\u{E0100}";

fn distinctive() -> impl Strategy<Value = String> {
    let characters: Vec<char> = DISTINCTIVE.chars().collect();
    prop::collection::vec(prop::sample::select(characters), 0..150).prop_map(String::from_iter)
}

/// Mostly ASCII, so that the masks decide.
fn ascii() -> impl Strategy<Value = String> {
    let characters: Vec<char> = "aabcstTLlErdvm  \n\n\t'.,;/-_0123(é".chars().collect();
    prop::collection::vec(prop::sample::select(characters), 0..400).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn texts_of_distinctive_characters(text in distinctive()) {
        assert_same(&text);
    }

    #[test]
    fn texts_of_ascii(text in ascii()) {
        assert_same(&text);
    }

    #[test]
    fn any_text(text in any::<String>()) {
        assert_same(&text);
    }

    #[test]
    fn any_bytes_with_replacement(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        assert_same(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn repetition(piece in "[a-c =é\n]{1,5}", times in 1_usize..300, tail in "[a-c ]{0,3}") {
        assert_same(&format!("{}{tail}", piece.repeat(times)));
    }

    #[test]
    fn tables_find_their_keys_and_no_others(words in prop::collection::hash_set("[a-d]{1,15}", 0..200), others in prop::collection::vec("[a-d]{1,15}", 50)) {
        let of = |word: &str| key(load(word.as_bytes(), 0), word.len());
        let mut table = Table::<Token>::with_capacity(words.len());
        for (number, word) in words.iter().enumerate() {
            *table.entry(of(word)) = number as Token;
        }
        for (number, word) in words.iter().enumerate() {
            prop_assert_eq!(table.get(of(word)), Some(number as Token));
        }
        for word in others.iter().filter(|word| !words.contains(*word)) {
            prop_assert_eq!(table.get(of(word)), None);
        }
    }
}
