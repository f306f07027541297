//! Changes the definitions of budgets, in all processes of a state directory.

use std::sync::Arc;

use super::budgets::{Budgets, PATIENCE};
use super::definition::{Definition, parse};
use super::stored::{DefineError, FILE, Rules};
use crate::sys::clock::unix_seconds;
use crate::sys::identity::FileIdentity;
use crate::sys::mutex::lock_within;

impl Budgets {
    /// The definitions in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The definitions in force, as JSON.
    #[must_use]
    pub fn definitions(&self) -> String {
        serde_json::to_string(&self.rules().definitions()).unwrap_or_default()
    }

    /// Adds definitions, or replaces those of the same name.
    ///
    /// # Errors
    /// If one is invalid or contradicts one in force: nothing changes then. If the state cannot be used: the definitions are in force
    /// in this process then, and for the others once it can.
    pub fn define(&self, text: &str) -> Result<(), DefineError> {
        let given = parse(text)?;
        for one in &given {
            super::definition::Rule::new(one.clone())?;
        }
        // Also says whether two of them have one name.
        self.rules().merged(&given, unix_seconds())?;
        let before = self.pending();
        let kept = before.iter().filter(|old| given.iter().all(|new| new.name != old.name));
        self.set_pending(kept.chain(&given).cloned().collect());
        let written = self.write_pending();
        match &written {
            Ok(()) => {}
            Err(DefineError::Invalid(_)) => self.set_pending(before),
            Err(DefineError::Unavailable(_)) => {
                let rules = self.rules();
                if let Some(all) = rules.merged(&self.pending(), unix_seconds())? {
                    self.rules.store(Arc::new(Rules::new(rules.generation, all)?));
                }
            }
        }
        written
    }

    fn pending(&self) -> Vec<Definition> {
        lock_within(&self.pending, PATIENCE).map(|all| all.clone()).unwrap_or_default()
    }

    fn set_pending(&self, definitions: Vec<Definition>) {
        if let Some(mut all) = lock_within(&self.pending, PATIENCE) {
            *all = definitions;
        }
    }

    /// Writes the definitions that could not be written yet, and reads those of other processes.
    fn write_pending(&self) -> Result<(), DefineError> {
        let pending = self.pending();
        self.change(|rules| if pending.is_empty() { Ok(None) } else { Ok(rules.merged(&pending, unix_seconds())?) })?;
        if !pending.is_empty() {
            self.set_pending(Vec::new());
        }
        Ok(())
    }

    /// Removes a definition. Returns whether there was one.
    ///
    /// # Errors
    /// If the state cannot be used.
    pub fn remove(&self, name: &str) -> Result<bool, DefineError> {
        let mut is_there = false;
        self.change(|rules| {
            let kept: Vec<Definition> = rules.definitions().into_iter().filter(|one| one.name != name).collect();
            is_there = kept.len() < rules.all.len();
            Ok(is_there.then_some(kept))
        })?;
        Ok(is_there)
    }

    fn change(
        &self,
        change: impl FnOnce(&Rules) -> Result<Option<Vec<Definition>>, DefineError>,
    ) -> Result<(), DefineError> {
        let rules = self.gate.define(|_| {
            let before = Rules::read(&self.dir)?;
            let rules = match change(&before)? {
                Some(definitions) => Rules::replace(&self.dir, definitions)?,
                None => before,
            };
            Ok::<_, DefineError>((rules.generation, rules))
        })?;
        self.use_rules(rules);
        Ok(())
    }

    fn use_rules(&self, rules: Rules) {
        if let Some(mut file) = lock_within(&self.file, PATIENCE) {
            *file = FileIdentity::of(&self.dir.join(FILE));
        }
        self.rules.store(Arc::new(rules));
    }

    /// Reads the definitions again if their file has changed.
    ///
    /// # Errors
    /// If the file or the state cannot be used. The old definitions stay in force then.
    pub fn refresh(&self) -> Result<(), DefineError> {
        let known = lock_within(&self.file, PATIENCE).map(|file| *file);
        if self.pending().is_empty() && known == Some(FileIdentity::of(&self.dir.join(FILE))) {
            return Ok(());
        }
        self.reload()
    }

    /// Reads the definitions again, and gives the state their number.
    pub(super) fn reload(&self) -> Result<(), DefineError> {
        let written = self.write_pending();
        if matches!(written, Err(DefineError::Invalid(_))) && !self.pending().is_empty() {
            // Another process has defined a budget of the same name in between. That one holds.
            self.set_pending(Vec::new());
            self.change(|_| Ok(None))?;
        }
        written
    }
}
