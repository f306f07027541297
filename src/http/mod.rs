//! HTTP requests: an async client for destinations, a blocking client for callers, and the clouds' metadata services. All clients are built
//! in one place.
//!
//! Logs and errors name only the host: paths, queries and headers hold keys.

mod address;
mod builder;
mod client;
mod metadata;
mod sync;

pub use address::{Address, AddressError};
pub use client::{HttpClient, Reply, SendError, SendErrorKind};
pub use metadata::{find_now as find_cloud_now, find_out};
pub use sync::{RequestError, Response, SyncClient, host_of};
