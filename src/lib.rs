//! The core of taximeter: it meters what LLM calls use and cost.
//!
//! Data flows one way. A call becomes an [`event`], which [`pricing`] prices. The [`journal`] keeps the event on disk.
//! [`delivery`] reads the journal and sends every event to its destinations. The [`ledger`] is the embedded destination; remote
//! destinations are reached over [`http`] with a [`protocol`]. [`meter`] puts these together. [`capture`] reads usage from provider
//! responses, [`tokens`] counts tokens where a provider reports no usage. `py` translates for Python; no other module names Python.

pub mod budget;
pub mod capture;
pub mod delivery;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http;
pub mod journal;
pub mod ledger;
pub mod meter;
pub mod money;
pub mod pricing;
pub mod protocol;
pub mod sys;
pub mod tokens;

#[cfg(feature = "python")]
mod py;
