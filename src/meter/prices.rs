//! The current prices, which can be replaced while other threads use them.
//!
//! A `State` holds everything that a book is built from, and the book itself once it is needed. Every change replaces the state as a
//! whole. A call that is pricing at that moment finishes with the book it started with, and no book outlives its sources.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use once_cell::race::OnceBox;

use super::issue::Issue;
use crate::event::{CostNotes, CostStatus, Status, Usage, UsageEvent};
use crate::pricing::{Book, Catalog, CatalogError, Conditions, OverrideError, Overrides, Request};
use crate::sys::fs::open_private;

/// The most bytes of a catalog on disk: thirty times the size of the 2026 catalog.
const MAX_CATALOG_BYTES: u64 = 16 << 20;

/// The sources of prices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceSettings {
    /// A catalog on disk. It replaces the embedded one if it can be read and is not older.
    pub catalog: Option<PathBuf>,
    /// Whether `litellm`'s table prices the providers that the catalog lacks.
    pub has_long_tail: bool,
    /// The user's rates, multipliers and aliases, for [`Overrides::parse`]; empty if there are none.
    pub overrides: String,
}

/// The current prices.
pub struct Prices {
    state: ArcSwap<State>,
    /// See [`Prices::serial`].
    serial: AtomicU64,
    /// Catalogs on disk that could not be read.
    unreadable: Arc<AtomicU64>,
}

/// The sources of a book, and the book.
pub(super) struct State {
    settings: PriceSettings,
    /// A catalog that was set at run time. It replaces the one on disk.
    replacement: Option<Arc<Catalog>>,
    /// Built when the first event or price needs it, so that importing and configuring stay fast.
    book: OnceBox<Arc<Book>>,
    unreadable: Arc<AtomicU64>,
}

impl Prices {
    pub(super) fn new(settings: PriceSettings) -> Self {
        let unreadable = Arc::<AtomicU64>::default();
        let state = State { settings, replacement: None, book: OnceBox::new(), unreadable: Arc::clone(&unreadable) };
        Self { state: ArcSwap::from_pointee(state), serial: AtomicU64::new(next_serial()), unreadable }
    }

    /// A number that identifies the current prices within this process. It changes after the prices: what is derived from the prices
    /// read after it is never older than it.
    #[inline]
    pub(super) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Acquire)
    }

    /// The current state, held while one event is priced.
    pub(super) fn load(&self) -> Guard<Arc<State>> {
        self.state.load()
    }

    /// The current book.
    #[must_use]
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(self.load().book())
    }

    /// Changes the settings. A catalog that was set at run time stays, unless the path of the catalog changes.
    ///
    /// # Errors
    /// If the overrides are invalid. Then nothing changes.
    pub(super) fn configure(&self, settings: &PriceSettings) -> Result<(), OverrideError> {
        Overrides::parse(&settings.overrides)?;
        if self.load().settings == *settings {
            return Ok(());
        }
        self.state.rcu(|state| {
            let is_same_place = state.settings.catalog == settings.catalog;
            state.with(settings.clone(), state.replacement.clone().filter(|_| is_same_place))
        });
        self.serial.store(next_serial(), Ordering::Release);
        Ok(())
    }

    /// Sets another catalog. Calls that are pricing at this moment finish with the old one.
    ///
    /// # Errors
    /// If the text is not a valid catalog. Then the old one stays.
    pub fn replace(&self, text: &str) -> Result<(), CatalogError> {
        let catalog = Arc::new(Catalog::parse(text)?);
        self.state.rcu(|state| state.with(state.settings.clone(), Some(Arc::clone(&catalog))));
        self.serial.store(next_serial(), Ordering::Release);
        Ok(())
    }

    /// How many catalogs on disk could not be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }
}

fn next_serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl State {
    fn with(&self, settings: PriceSettings, replacement: Option<Arc<Catalog>>) -> Self {
        Self { settings, replacement, book: OnceBox::new(), unreadable: Arc::clone(&self.unreadable) }
    }

    /// The book. It is built on first use.
    pub(super) fn book(&self) -> &Arc<Book> {
        if let Some(book) = self.book.get() {
            return book;
        }
        // Threads that need the first book at the same time each build one. A lock instead could be inherited locked by a forked child.
        self.book.get_or_init(|| Box::new(Arc::new(self.make_book())))
    }

    fn make_book(&self) -> Book {
        let catalog = self.replacement.clone().unwrap_or_else(|| self.newest_catalog());
        // The text is valid: `configure` has parsed it.
        let overrides = Overrides::parse(&self.settings.overrides).unwrap_or_default();
        Book::new(catalog, self.settings.has_long_tail.then(Catalog::long_tail), overrides)
    }

    /// The catalog on disk, or the embedded one if that is newer.
    fn newest_catalog(&self) -> Arc<Catalog> {
        let embedded = Catalog::embedded();
        let Some(path) = &self.settings.catalog else { return embedded };
        let found = match read(path) {
            Ok(None) => return embedded,
            Ok(Some(text)) => Catalog::parse(&text).ok(),
            Err(_) => None,
        };
        match found {
            Some(catalog) if !catalog.as_of().is_empty() && catalog.as_of() < embedded.as_of() => embedded,
            Some(catalog) if !catalog.as_of().is_empty() && catalog.as_of() <= today().as_str() => Arc::new(catalog),
            _ => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                embedded
            }
        }
    }
}

/// The request for the price of an event with this usage.
pub(super) fn request<'r>(event: &'r UsageEvent<'_>, usage: &'r Usage) -> Request<'r> {
    Request {
        provider: Some(event.provider),
        model: event.model,
        usage,
        started_at: event.started_at,
        conditions: Conditions {
            service_tier: event.service_tier,
            batch: event.batch,
            region: event.region,
            further: &[],
        },
    }
}

/// Sets the computed cost of an event and its source. A reported cost remains the effective cost.
///
/// # Errors
/// [`Issue::ContradictoryUsage`] if the usage contradicts itself. The cost is then unknown.
pub(super) fn price<'a>(book: &'a Book, event: &mut UsageEvent<'a>) -> Result<(), Issue> {
    if event.usage.is_empty() && event.status == Status::Error && event.cost_status == CostStatus::Unpriced {
        event.cost_status = CostStatus::NotCharged;
        return Ok(());
    }
    if event.usage.is_empty() && !book.has_free() {
        return Ok(());
    }
    let total = book.total(&request(event, &event.usage)).map_err(|_| Issue::ContradictoryUsage)?;
    if event.cost_status == CostStatus::Reported {
        event.computed_cost = total.usd;
    } else {
        (event.cost, event.cost_status) = (total.usd, total.status);
    }
    event.cost_notes = event.cost_notes.intersection(CostNotes::FROM_CALL) | total.notes;
    if let Some(found) = total.found {
        event.priced_as = Some(book.label(found));
        event.catalog = Some(book.origin(found));
    }
    Ok(())
}

/// The text of a file; `None` if the file does not exist.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match open_private(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    let length = file.take(MAX_CATALOG_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_CATALOG_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(text)) }
}

fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()[..10].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = r#"{"schema":1,"source":"other","version":"1","providers":[]}"#;

    fn settings(overrides: &str) -> PriceSettings {
        PriceSettings { overrides: overrides.into(), ..PriceSettings::default() }
    }

    #[test]
    fn a_catalog_set_at_run_time_and_the_overrides_do_not_undo_each_other() {
        let prices = Prices::new(settings(""));
        prices.replace(OTHER).unwrap();
        prices.configure(&settings(r#"{"multipliers":{"*":"2"}}"#)).unwrap();
        assert_eq!(prices.book().catalog().name(), "other-1");
        assert!(prices.configure(&settings(r#"{"multipliers":{"*":"-2"}}"#)).is_err());
        assert!(prices.replace("{").is_err());
        assert_eq!(prices.load().settings.overrides, r#"{"multipliers":{"*":"2"}}"#);
        prices.configure(&PriceSettings { catalog: Some("elsewhere".into()), ..settings("") }).unwrap();
        assert!(prices.book().catalog().name().starts_with("genai-prices"));
    }

    #[test]
    fn concurrent_changes_of_catalog_and_settings_both_take_effect() {
        for _ in 0..200 {
            let prices = Prices::new(settings(""));
            std::thread::scope(|scope| {
                scope.spawn(|| prices.replace(OTHER).unwrap());
                scope.spawn(|| prices.configure(&settings(r#"{"aliases":{"a":"b"}}"#)).unwrap());
                scope.spawn(|| prices.book());
            });
            assert_eq!(prices.book().catalog().name(), "other-1");
            assert!(!prices.load().settings.overrides.is_empty());
        }
    }

    #[test]
    fn a_catalog_on_disk_is_used_if_it_is_valid_and_not_older_or_from_the_future() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.json");
        let name = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let prices = Prices::new(PriceSettings { catalog: Some(path.clone()), ..PriceSettings::default() });
            (prices.book().catalog().name()[..5].to_owned(), prices.unreadable())
        };
        let of = |day: &str| OTHER.replace(r#""version""#, &format!(r#""as_of":"{day}","version""#));
        assert_eq!(name(&of(&today())), ("other".into(), 0));
        assert_eq!(name(&of("2020-01-01")), ("genai".into(), 0));
        assert_eq!(name(&of("2999-01-01")), ("genai".into(), 1));
        assert_eq!(name(OTHER), ("genai".into(), 1));
        assert_eq!(name("{"), ("genai".into(), 1));
    }
}
