//! Generates what the extension embeds: the price catalogs, the vocabularies, the classes of characters, and the stub's docstrings.
//!
//! The price catalog is `data/catalog.json`, which people can review. The modules that read a catalog at run time also read it here,
//! so a catalog that they reject does not build. The vocabularies are those of `tiktoken-rs`. The classes are those of the regex
//! engine that runs its patterns.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use regex_syntax::hir::{Class, HirKind};
use tiktoken_rs::CoreBPE;

#[path = "src/money.rs"]
mod money;
#[path = "src/event/units.rs"]
mod units;
mod event {
    pub use crate::units::Unit;
}
#[path = "src/pricing/document.rs"]
mod document;
#[path = "src/pricing/entry.rs"]
mod entry;
#[path = "src/pricing/matching.rs"]
mod matching;
#[path = "src/tokens/packed.rs"]
mod packed;
#[path = "build/stub.rs"]
mod stub;

const STUB: &str = "python/taximeter/_core.pyi";

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    // The last column is the largest token number that is not special, from `tiktoken`'s vocabulary files.
    for (name, encoding, last) in [
        ("o200k_base", tiktoken_rs::o200k_base()?, 199_997),
        ("cl100k_base", tiktoken_rs::cl100k_base()?, 100_255),
        ("p50k_base", tiktoken_rs::p50k_base()?, 50_280),
    ] {
        fs::write(Path::new(&out).join(name).with_extension("bin"), vocabulary(&encoding, last)?)?;
    }
    fs::write(Path::new(&out).join("classes.bin"), classes()?)?;
    println!("cargo:rerun-if-changed=src/tokens/packed.rs");
    fs::write(Path::new(&out).join("stub_docs.rs"), stub::macro_of(&fs::read_to_string(STUB)?)?)?;
    println!("cargo:rerun-if-changed={STUB}");
    println!("cargo:rerun-if-changed=build/stub.rs");
    for name in ["catalog", "long_tail"] {
        let source = format!("data/{name}.json");
        println!("cargo:rerun-if-changed={source}");
        let entries = entry::Entries::from_json(&fs::read_to_string(&source)?)?;
        fs::write(Path::new(&out).join(name).with_extension("bin"), postcard::to_allocvec(&entries)?)?;
    }
    for module in ["money.rs", "event/units.rs", "pricing/document.rs", "pricing/entry.rs", "pricing/matching.rs"] {
        println!("cargo:rerun-if-changed=src/{module}");
    }
    Ok(())
}

/// The packed vocabulary of an encoding: for each token, the two tokens that byte-pair encoding merges last.
fn vocabulary(encoding: &CoreBPE, expected: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let special: HashSet<Vec<u8>> =
        encoding.special_tokens().into_iter().map(|token| token.as_bytes().to_vec()).collect();
    let tokens: Vec<Option<Vec<u8>>> = (0..)
        .map_while(|id| encoding.decode_bytes(&[id]).ok())
        .map(|token| Some(token).filter(|token| !special.contains(token)))
        .collect();
    let ranks: HashMap<&[u8], u32> =
        tokens.iter().enumerate().filter_map(|(rank, token)| Some((token.as_deref()?, rank as u32))).collect();
    let mut bytes = [0; packed::BYTES];
    for (byte, token) in bytes.iter_mut().zip(&tokens) {
        let Some([single]) = token.as_deref() else { return Err("the first tokens are not the single bytes".into()) };
        *byte = *single;
    }
    // The limits of `src/tokens/vocabulary.rs`: eight bits for a length, at most 128, and twenty bits for a token number.
    if tokens.len() >= 0xF_FFFF || tokens.iter().flatten().any(|token| token.len() > 128) {
        return Err("there are too many tokens, or a token is too long".into());
    }
    let last = tokens.iter().rposition(Option::is_some).unwrap_or_default();
    if last != expected {
        return Err(format!("the last token is {last}, not {expected}").into());
    }
    let halves = tokens[packed::BYTES..=last].iter().map(|token| halves(token.as_deref(), &ranks));
    let halves = halves.collect::<Result<Vec<_>, _>>()?;
    let packed = packed::pack(&bytes, &halves)?;
    // `Vocabulary::unpack` cannot report an error at run time.
    if packed::unpack(&packed)? != (bytes, halves) {
        return Err("unpacking does not restore what was packed".into());
    }
    Ok(packed)
}

/// The two halves of a token. Merging its bytes must end in the token, and both halves must have lower numbers: unpacking relies on
/// it.
fn halves(token: Option<&[u8]>, ranks: &HashMap<&[u8], u32>) -> Result<[u32; 2], String> {
    let Some(token) = token else { return Ok(packed::GAP) };
    // The positions where parts begin, and the end.
    let mut bounds: Vec<usize> = (0..=token.len()).collect();
    while bounds.len() > 3 {
        let rank = |place: &usize| ranks.get(&token[bounds[*place]..bounds[*place + 2]]);
        let lowest = (0..bounds.len() - 2).filter(|place| rank(place).is_some()).min_by_key(rank);
        bounds.remove(lowest.ok_or_else(|| format!("{token:?} is not what its bytes merge into"))? + 1);
    }
    let of = |part: &[u8]| ranks.get(part).copied().filter(|rank| *rank < ranks[token]);
    match (of(&token[..bounds[1]]), of(&token[bounds[1]..])) {
        (Some(left), Some(right)) => Ok([left, right]),
        _ => Err(format!("{token:?} consists of tokens with higher numbers")),
    }
}

/// The classes of all code points, for `src/tokens/pieces/class.rs`: the number of each block's classes, followed by these classes,
/// each distinct sequence once.
fn classes() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut classes = vec![0; 0x11_0000];
    let categories = [r"\s", r"[\r\n]", r"\p{N}", r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}]", r"\p{M}"];
    for (number, category) in categories.into_iter().enumerate() {
        let HirKind::Class(Class::Unicode(class)) = regex_syntax::parse(category)?.into_kind() else {
            return Err(category.into());
        };
        for range in class.ranges() {
            classes[range.start() as usize..=range.end() as usize].fill(number as u8 + 1);
        }
    }
    let (mut table, mut blocks) = (Vec::new(), Vec::<&[u8]>::new());
    for block in classes.chunks(256) {
        let number = blocks.iter().position(|known| *known == block).unwrap_or_else(|| {
            blocks.push(block);
            blocks.len() - 1
        });
        table.push(u8::try_from(number)?);
    }
    Ok([table, blocks.concat()].concat())
}
