//! Requests over HTTP: one client for destinations, one for callers who wait, and the cloud's metadata. All are built in one place.
//!
//! Only a host is ever told: paths, queries and headers hold keys.

mod address;
mod builder;
mod client;
mod metadata;
mod sync;

pub use address::{Address, AddressError};
pub use client::{HttpClient, Reply, SendError, SendErrorKind};
pub use metadata::{find_now as find_cloud_now, find_out};
pub use sync::{RequestError, Response, SyncClient};
