//! Compiles the price catalog: `data/catalog.json`, which people review, into the bytes that the extension embeds.
//!
//! The catalog is read by the very modules that read one at run time, so what they refuse does not build.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::error::Error;
use std::path::Path;
use std::{env, fs};

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

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
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
