//! Tokens.
#![allow(dead_code, missing_docs)]
pub mod packed;
mod table;
mod vocabulary;
mod merge;
mod pieces;
mod counter;
pub use counter::Proto;
