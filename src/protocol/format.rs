//! The trait that every wire format implements, and the options of a format.

use std::path::{Path, PathBuf};

use super::limits::BatchLimits;
use super::machine::{CloudEndpoints, Finding, Probe};
use super::request::HttpRequest;
use super::verdict::{Answer, Verdict, by_status};
use crate::event::{Outgoing, UsageEvent};

/// A wire format.
pub trait Protocol: Send {
    /// Whether to send this event to the destination.
    fn takes(&self, event: &UsageEvent<'_>) -> bool {
        event.is_usage()
    }

    /// The requests that send these events, to be made in order. The response to the last one decides what happened to the events.
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest>;

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

    /// What the response to a request with `_sent` events means.
    fn verdict(&self, answer: &Answer<'_>, _sent: u64) -> Verdict {
        by_status(answer)
    }

    /// What the body of a response says in words, for `last_error`: why events were rejected, or a warning about accepted ones. `None` if
    /// it says nothing, or is no message in this format.
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
}

/// An entry of the table of formats.
pub struct Format {
    /// The name: the part before the `+` of a URL's scheme, as in `jsonl+https`, or the name of a service.
    pub name: &'static str,
    /// Whether a URL's scheme can name it.
    pub has_scheme: bool,
    /// Creates the format.
    pub make: fn(&Options) -> Box<dyn Protocol>,
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
