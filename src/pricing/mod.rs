//! Prices of calls: catalogs of rates, the rules that match models, the user's overrides, and exact arithmetic.
//!
//! A cost is known or unknown, never guessed: [`Cost::usd`] is `None` if no rate applies. A [`Book`] is immutable. An event names the
//! catalog that priced it.

mod advice;
mod book;
mod catalog;
mod charge;
mod conditions;
mod cost;
mod document;
mod entry;
mod explain;
mod linear;
mod matching;
mod overrides;
mod providers;
mod reference;
mod uplifts;

pub use book::Book;
pub use catalog::{Catalog, MatchKind};
pub use charge::{Line, PriceError};
pub use conditions::Conditions;
pub use cost::{Cost, Found, Request, Total};
pub use document::CatalogError;
pub use explain::explain;
pub use linear::Linear;
pub use overrides::{OverrideError, Overrides, usual_denominator};
pub use providers::canonical_provider;
