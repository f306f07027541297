//! The journal of events: each of its writers makes their ids.

use crate::event::id::IdSource;
use crate::journal::Journal;

/// A journal whose writers make ids of events.
pub type EventJournal = Journal<IdSource>;
