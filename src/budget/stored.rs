//! The file of definitions, which all processes of a state directory share.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::definition::{Definition, DefinitionError, Rule};
use super::error::Unavailable;
use crate::sys::fs::{append_all, create_private_file, open_private, remove_file, rename, sync};
use crate::sys::random::random_word;

pub(super) const FILE: &str = "definitions.json";
const DRAFT: &str = "definitions.draft";
const VERSION: u32 = 1;
/// The most bytes: a thousand definitions with 400 boundaries each.
const MAX_BYTES: u64 = 8 << 20;

/// Why definitions cannot be read or changed.
#[derive(thiserror::Error, Debug)]
pub enum DefineError {
    /// A definition is invalid, or contradicts one that is in force.
    #[error(transparent)]
    Invalid(#[from] DefinitionError),
    /// The state or the file cannot be used.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<io::Error> for DefineError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    generation: u64,
    budgets: Vec<Definition>,
}

/// The definitions in force, checked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Differs for different definitions. 0 if there is no file.
    pub(super) generation: u64,
    /// In the order of their first definition.
    pub all: Vec<Arc<Rule>>,
}

impl Rules {
    /// Reads the file of a directory. Without one, there are no definitions.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold valid definitions.
    pub(super) fn read(dir: &Path) -> Result<Self, DefineError> {
        let mut text = String::new();
        match open_private(&dir.join(FILE), false) {
            Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let damaged = |error: &dyn std::fmt::Display| DefinitionError(format!("{FILE} cannot be read: {error}"));
        let file: File = serde_json::from_str(&text).map_err(|error| damaged(&error))?;
        if file.version > VERSION {
            let why =
                format!("it has version {}, and this version of taximeter reads {VERSION}; upgrade", file.version);
            return Err(damaged(&why).into());
        }
        Self::new(file.generation, file.budgets)
    }

    pub(super) fn new(generation: u64, definitions: Vec<Definition>) -> Result<Self, DefineError> {
        let rules = definitions.into_iter().map(|one| Rule::new(one).map(Arc::new));
        Ok(Self { generation, all: rules.collect::<Result<_, _>>()? })
    }

    /// Writes other definitions in place of these.
    ///
    /// # Errors
    /// If a definition is invalid, or the file cannot be written. The old file stays then.
    pub(super) fn replace(dir: &Path, definitions: Vec<Definition>) -> Result<Self, DefineError> {
        let file = File { version: VERSION, generation: random_word().max(1), budgets: definitions };
        let text = serde_json::to_string(&file).map_err(io::Error::from)?;
        let draft = dir.join(DRAFT);
        // Only the holder of the lock makes drafts. A killed one left it.
        let _ = remove_file(&draft);
        let written = create_private_file(&draft).and_then(|file| {
            append_all(&file, text.as_bytes())?;
            sync(&file)
        });
        written.and_then(|()| rename(&draft, &dir.join(FILE)))?;
        Self::new(file.generation, file.budgets)
    }

    /// The definitions.
    pub(super) fn definitions(&self) -> Vec<Definition> {
        self.all.iter().map(|rule| rule.definition.clone()).collect()
    }

    /// These definitions with others added or replaced; `None` if nothing changes.
    ///
    /// # Errors
    /// If two of the others have one name, or one would count other calls or periods under a name that is in use.
    pub(super) fn merged(&self, given: &[Definition], now: i64) -> Result<Option<Vec<Definition>>, DefinitionError> {
        let mut all = self.definitions();
        let mut is_changed = false;
        for (index, mut one) in given.iter().cloned().enumerate() {
            if given[..index].iter().any(|other| other.name == one.name) {
                return Err(DefinitionError(format!("budget {:?}: name is given twice", one.name)));
            }
            let Some(known) = all.iter_mut().find(|known| known.name == one.name) else {
                is_changed = true;
                all.push(one);
                continue;
            };
            if !one.has_scope_of(known) {
                let rule = "exists with another unit, period, by, absent or where; its counts cannot be kept: choose another name, \
                            or remove it first (taximeter budgets rm)";
                return Err(DefinitionError(format!("budget {:?}: name {rule}", one.name)));
            }
            // Each process computes boundaries from its own start on. They do not have to change for that.
            if known.period.at(now) == one.period.at(now) && is_long_enough(known, &one, now) {
                one.period = known.period.clone();
            }
            is_changed |= *known != one;
            *known = one;
        }
        Ok(is_changed.then_some(all))
    }
}

/// Whether the known boundaries reach at least half as far as the new ones.
fn is_long_enough(known: &Definition, new: &Definition, now: i64) -> bool {
    match (known.period.known_until(), new.period.known_until()) {
        (Some(known), Some(new)) => known - now >= (new - now) / 2,
        (known, new) => known == new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::definition::parse;

    fn definitions(text: &str) -> Vec<Definition> {
        parse(text).unwrap()
    }

    #[test]
    fn a_definition_takes_another_amount_but_not_another_scope() {
        let dir = tempfile::tempdir().unwrap();
        let day = |amount: &str, by: &str| {
            definitions(&format!(
                r#"[{{"name":"day","unit":"usd","amount":"{amount}","period":{{"kind":"calendar","boundaries":[0,100]}},"by":["{by}"]}}]"#
            ))
        };
        assert!(Rules::read(dir.path()).unwrap().all.is_empty());
        let first = Rules::default().merged(&day("1", "team"), 50).unwrap().unwrap();
        let rules = Rules::replace(dir.path(), first).unwrap();
        assert!(rules.merged(&day("1", "team"), 50).unwrap().is_none(), "the same");
        let second = rules.merged(&day("2", "team"), 50).unwrap().unwrap();
        Rules::replace(dir.path(), second).unwrap();
        let rules = Rules::read(dir.path()).unwrap();
        assert_eq!(rules.all[0].definition.amount, "2");
        let error = rules.merged(&day("2", "user"), 50).unwrap_err().to_string();
        assert!(error.contains("exists with another unit"), "{error}");
        let twice = [day("2", "team"), day("3", "team")].concat();
        assert!(rules.merged(&twice, 50).unwrap_err().to_string().contains("given twice"));
    }

    #[test]
    fn a_file_that_is_damaged_or_newer_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for (text, message) in
            [("{", "cannot be read"), (r#"{"version":2,"generation":1,"budgets":[]}"#, "has version 2")]
        {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let error = Rules::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
