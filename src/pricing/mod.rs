//! What a call costs: the catalog of rates, the rules that find a model in it, and exact arithmetic.
//!
//! A price is known or it is not: [`Cost::usd`] is `None` when no rate applies, and never a guess. The catalog is immutable; an
//! event names the one that priced it.

mod catalog;
mod cost;
mod matching;
mod providers;

pub use catalog::{Catalog, CatalogError, Found, MatchKind};
pub use cost::{Cost, Line, PriceError, Request, Total};
pub use providers::canonical_provider;
