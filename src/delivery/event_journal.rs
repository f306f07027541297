//! The journal of events, whose writers create the event ids.

use crate::event::id::IdSource;
use crate::journal::Journal;

/// A journal whose writers create event ids.
pub type EventJournal = Journal<IdSource>;
