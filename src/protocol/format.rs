//! What every wire format says of itself, and what its user may say of it.

use std::path::{Path, PathBuf};

use super::limits::BatchLimits;
use super::machine::{CloudEndpoints, Finding, Probe};
use super::request::HttpRequest;
use super::verdict::{Answer, Verdict, by_status};
use crate::event::{Outgoing, UsageEvent};

/// A wire format.
pub trait Protocol: Send {
    /// Whether an event is for this destination.
    fn takes(&self, event: &UsageEvent<'_>) -> bool {
        event.is_usage()
    }

    /// The requests that bring these events, to be made one after the other: the last one's answer tells what became of them.
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest>;

    /// How the destination wants to be asked, where its user says nothing else.
    fn limits(&self) -> BatchLimits {
        BatchLimits::default()
    }

    /// What has to be found out before the first request; `None` once it is known.
    fn prepare(&self) -> Option<Probe> {
        None
    }

    /// Takes what was found out.
    fn prepared(&mut self, _found: Finding) {}

    /// Files for events that were not taken in as many attempts as the limits allow; `None` where they wait in the journal.
    fn spill(&self) -> Option<Box<dyn SpillFormat>> {
        None
    }

    /// What a response to a request with so many events means.
    fn verdict(&self, answer: &Answer<'_>, _sent: u64) -> Verdict {
        by_status(answer)
    }
}

/// Files in which events wait that a destination did not take. They are written, claimed and read back by `delivery`.
pub trait SpillFormat: Send {
    /// The directory of the files.
    fn dir(&self) -> &Path;

    /// The name of a file; `unique` is in no other name.
    fn file_name(&self, unique: &str) -> String;

    /// Whether a file of this name is to be read back.
    fn is_own(&self, name: &str) -> bool;

    /// The content of a file with these bodies of requests.
    fn write(&self, bodies: &[Vec<u8>]) -> Vec<u8>;

    /// The events of a file, as requests that are complete; `None` where it holds something else.
    fn read<'a>(&self, text: &'a str) -> Option<Vec<Outgoing<'a>>>;
}

/// What a user may say of a format, beside its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Accounts of a service: the first is the one that is sent for, the files of the others are taken over.
    pub accounts: Vec<String>,
    /// The directory for events that are not taken in as many attempts as the limits allow.
    pub spill_dir: Option<PathBuf>,
    /// Where to ask for the cloud that this machine is in; with `None` it is in none.
    pub cloud: Option<CloudEndpoints>,
}

/// An entry of the table of formats.
pub struct Format {
    /// Its name, which stands before the `+` of a URL's scheme, as in `jsonl+https`, or is that of a service.
    pub name: &'static str,
    /// Whether a URL's scheme can name it.
    pub has_scheme: bool,
    /// Makes the format.
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
