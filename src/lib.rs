//! The core of taximeter: a meter for what LLM calls use and cost.
//!
//! Data flows one way: a call becomes an [`event`], priced by [`pricing`]; the [`journal`] keeps it on disk; [`delivery`] reads
//! the journal and brings every event to its destinations, of which the [`ledger`] is the embedded one; a [`protocol`] is what others
//! speak over [`http`]. [`meter`] puts these together, [`capture`] reads usage off provider responses, [`tokens`] counts where a provider reports none, and `py` translates for
//! Python. Nothing but `py` knows Python.

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
