//! Wire formats of destinations: events in, requests out; a response in, a verdict out. No I/O happens here.
//!
//! A new format is one file with a [`Format`] in it, and one line in the table below. Python takes its list of URL schemes from there.

mod format;
mod limits;
mod machine;
mod request;
mod verdict;

pub use cloudevents::CloudEvents;
pub use format::{Format, Options, Protocol, SpillFormat};
pub use limits::{BatchLimits, LimitError, LimitOverrides};
pub use machine::{Cloud, CloudEndpoints, Finding, Probe};
pub use request::{HttpRequest, Method};
pub use verbatim::Verbatim;
pub use verdict::{Answer, Verdict};

/// Declares the files of formats and the table of them.
macro_rules! formats {
    ($($file:ident,)*) => {
        $(mod $file;)*

        /// Every format.
        pub const FORMATS: &[&Format] = &[$(&$file::FORMAT,)*];
    };
}

// `cargo fmt` sees no file that is named in a macro: `make lint` names these files to it.
formats! {
    cloudevents,
    jsonl,
    token_trackr,
    verbatim,
}

/// The format of a name.
#[must_use]
pub fn format_named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name).copied()
}

/// The format of a service: its own, or requests as they were given.
#[must_use]
pub fn format_of_service(service: &str) -> &'static Format {
    format_named(service).filter(|format| !format.has_scheme).unwrap_or(&verbatim::FORMAT)
}

/// The schemes of URLs that name a destination, encrypted ones first.
#[must_use]
pub fn destination_schemes() -> Vec<String> {
    let named = FORMATS.iter().filter(|format| format.has_scheme);
    named.flat_map(|format| ["https", "http"].map(|transport| format!("{}+{transport}", format.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_schemes_follow_from_them() {
        let mut names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
        names.dedup();
        assert_eq!(names.len(), FORMATS.len());
        let schemes = destination_schemes();
        assert!(schemes.contains(&"cloudevents+https".to_owned()) && schemes.contains(&"jsonl+http".to_owned()));
        assert!(!schemes.iter().any(|scheme| scheme.contains("verbatim")));
        assert_eq!(format_of_service("teer").name, "verbatim");
        // A service is not taken for a format that a URL names.
        assert_eq!(format_of_service("jsonl").name, "verbatim");
    }
}
