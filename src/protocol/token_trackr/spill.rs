//! Files of events that the service did not accept within the configured number of attempts.
//!
//! ```text
//! <dir>/events_<unique>-<account>.json   a JSON array of the events, as the service accepts them
//! ```
//!
//! Files of other accounts are left alone, and so are the files of the original SDK, whose names have no account: the original SDK had
//! already sent those events, or keeps them elsewhere as well.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::super::format::SpillFormat;
use crate::event::Outgoing;

/// The path of an event whose body already has its cloud, because it was read from such a file.
pub(super) const COMPLETE: &str = "/usage";

const PREFIX: &str = "events_";

/// The files of a list of accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpilledEvents {
    dir: PathBuf,
    /// The suffixes of the files' names. New files get the first one.
    suffixes: Vec<String>,
}

impl SpilledEvents {
    pub(super) fn new(dir: &Path, accounts: &[String]) -> Self {
        Self { dir: dir.to_owned(), suffixes: accounts.iter().map(|account| format!("-{account}.json")).collect() }
    }
}

impl SpillFormat for SpilledEvents {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn file_name(&self, unique: &str) -> String {
        format!("{PREFIX}{unique}{}", self.suffixes.first().map_or(".json", String::as_str))
    }

    fn is_own(&self, name: &str) -> bool {
        name.starts_with(PREFIX) && self.suffixes.iter().any(|suffix| name.ends_with(suffix))
    }

    fn write(&self, bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut content = b"[".to_vec();
        content.extend(bodies.join(&b", "[..]));
        content.extend(b"]\n");
        content
    }

    fn read<'a>(&self, text: &'a str) -> Option<Vec<Outgoing<'a>>> {
        let bodies: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
        Some(bodies.into_iter().map(|body| Outgoing { path: COMPLETE, body: body.get() }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_account_that_wrote_a_file_reads_it_back() {
        let files = |account: &str| SpilledEvents::new(Path::new("dir"), &[account.to_owned()]);
        let bodies = [br#"{"model": "a"}"#.to_vec(), br#"{"model": "b"}"#.to_vec()];
        let text = String::from_utf8(files("1").write(&bodies)).unwrap();
        let read = files("1").read(&text).unwrap();
        assert_eq!(read.iter().map(|one| one.body.as_bytes()).collect::<Vec<_>>(), bodies);
        assert!(files("1").read("[{}").is_none());
        let name = files("1").file_name("17-ab");
        assert!(files("1").is_own(&name) && !files("2").is_own(&name) && !files("1").is_own("events_1764316536.json"));
    }
}
