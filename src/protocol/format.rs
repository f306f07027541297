//! The trait that every wire format implements, and the options of a format.

use std::path::{Path, PathBuf};

use super::limits::BatchLimits;
use super::machine::{CloudEndpoints, Finding, Probe};
use super::request::HttpRequest;
use super::verdict::{Answer, Verdict, by_status};
use crate::event::{Outgoing, Savings, UsageEvent};

/// A wire format.
pub trait Protocol: Send {
    /// Whether to send this event to the destination.
    fn takes(&self, event: &UsageEvent<'_>) -> bool {
        event.is_usage()
    }

    /// The requests that send these events, to be made in order. The response to the last one decides what happened to the events.
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest>;

    /// Receives what tells how much caching saved in an event. A format without a field for it ignores it.
    fn set_savings(&mut self, _savings: &Savings) {}

    /// The limits of requests, unless the user sets others.
    fn limits(&self) -> BatchLimits {
        BatchLimits::default()
    }

    /// What must be known about the machine before the first request; `None` if nothing is missing.
    fn prepare(&self) -> Option<Probe> {
        None
    }

    /// Receives the result of the probe.
    fn prepared(&mut self, _found: Finding) {}

    /// Files for events that the destination did not accept within the configured number of attempts; `None` if such events stay in the
    /// journal.
    fn spill(&self) -> Option<Box<dyn SpillFormat>> {
        None
    }

    /// The name of a response header with the service's own code, in lower case; `None` if there is no such header.
    fn code_header(&self) -> Option<&'static str> {
        None
    }

    /// The meaning of the response to a request with `_sent` events.
    fn verdict(&self, answer: &Answer<'_>, _sent: u64) -> Verdict {
        by_status(answer)
    }

    /// The text in the body of a response, for `last_error`: why events were rejected, or a warning about accepted ones. `None` if
    /// it says nothing, or is not a message in this format.
    fn message(&self, _answer: &Answer<'_>) -> Option<String> {
        None
    }

    /// The places of those events of an accepted request that the body of the response shows as not stored. Empty if it does not say.
    fn left_out(&self, _events: &[UsageEvent<'_>], _body: &[u8]) -> Vec<usize> {
        Vec::new()
    }
}

/// The format of files with events that a destination did not accept. `delivery` writes, claims and reads back these files.
pub trait SpillFormat: Send {
    /// The directory of the files.
    fn dir(&self) -> &Path;

    /// The name of a new file; `unique` is part of no other file's name.
    fn file_name(&self, unique: &str) -> String;

    /// Whether a file with this name is to be read back.
    fn is_own(&self, name: &str) -> bool;

    /// The content of a file with these request bodies.
    fn write(&self, bodies: &[Vec<u8>]) -> Vec<u8>;

    /// The events in the text of a file, as complete requests; `None` if the text is something else.
    fn read<'a>(&self, text: &'a str) -> Option<Vec<Outgoing<'a>>>;
}

/// The options of a format, apart from its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Accounts of a service. Events are sent for the first one; the spilled files of all of them are read back.
    pub accounts: Vec<String>,
    /// The directory for events that the destination did not accept within the configured number of attempts.
    pub spill_dir: Option<PathBuf>,
    /// Where to ask which cloud this machine is in; `None` if it is in no cloud.
    pub cloud: Option<CloudEndpoints>,
    /// Which receivers the attributes of a span are for, by name; `None` for all of them.
    pub dialect: Option<String>,
    /// Whether request bodies are not compressed.
    pub is_uncompressed: bool,
    /// What describes the sending process, as pairs of key and value.
    pub resource: Vec<(String, String)>,
    /// The path of the destination's URL.
    pub url_path: String,
    /// Whether the server collects the events of several requests before it stores them.
    pub server_batches: bool,
}

/// A user's keys for a destination.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The user's name, if the service has names.
    pub user: Option<&'a str>,
    /// The token, key or password.
    pub token: Option<&'a str>,
}

/// An option of a destination that its format cannot use.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// The format has no users.
    #[error("user: this protocol has no users; give token=… or headers={{…}} instead")]
    User,
    /// The server cannot collect events.
    #[error("server_batches: only clickhouse+https takes this; leave it out")]
    ServerBatches,
    /// The path names no database.
    #[error(
        "url: the path is not the name of a database; write clickhouse+https://host:8443/DATABASE, where a name has letters, digits and _ \
         and does not begin with a digit"
    )]
    Database,
}

/// An entry of the table of formats.
pub struct Format {
    /// The name: the part before the `+` of a URL's scheme, as in `jsonl+https`, or the name of a service.
    pub name: &'static str,
    /// Whether a URL's scheme can name it.
    pub has_scheme: bool,
    /// Creates the format.
    pub make: fn(&Options) -> Box<dyn Protocol>,
    /// Checks the options that a user can set.
    pub check: fn(&Options) -> Result<(), OptionError>,
    /// Whether the service has users with names.
    pub has_users: bool,
    /// The headers that hold the user's keys, with their names.
    pub headers: fn(&Credentials<'_>) -> Vec<(&'static str, String)>,
}

impl Format {
    /// A format that takes a bearer token, and no options of its own.
    pub(super) const fn new(name: &'static str, has_scheme: bool, make: fn(&Options) -> Box<dyn Protocol>) -> Self {
        Self { name, has_scheme, make, check: no_options, has_users: false, headers: bearer }
    }
}

fn no_options(options: &Options) -> Result<(), OptionError> {
    if options.server_batches { Err(OptionError::ServerBatches) } else { Ok(()) }
}

fn bearer(keys: &Credentials<'_>) -> Vec<(&'static str, String)> {
    keys.token.map(|token| ("authorization", format!("Bearer {token}"))).into_iter().collect()
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
