//! Wire formats of destinations. A format turns events into requests, and a response into a verdict. It does no I/O.
//!
//! A new format is one file with a [`Format`], and one line in the table below. Python reads its list of URL schemes from this table.

mod format;
mod limits;
mod machine;
mod request;
mod verdict;

pub use clickhouse::{COLUMNS, Column, REVISION, insert_settings, place};
pub use cloudevents::CloudEvents;
pub use format::{Credentials, Format, OptionError, Options, Protocol, SpillFormat};
pub use limits::{BatchLimits, LimitError, LimitOverrides};
pub use machine::{Cloud, CloudEndpoints, Finding, Probe};
pub use otlp::Otlp;
pub use request::{HttpRequest, Method};
pub use verbatim::Verbatim;
pub use verdict::{Answer, Verdict};

/// Declares the modules of the formats and the table of formats.
macro_rules! formats {
    ($($file:ident,)*) => {
        $(mod $file;)*

        /// Every format.
        pub const FORMATS: &[&Format] = &[$(&$file::FORMAT,)*];
    };
}

// `cargo fmt` does not see modules that a macro declares, so `make lint` passes these files to rustfmt by name.
formats! {
    clickhouse,
    cloudevents,
    jsonl,
    otlp,
    token_trackr,
    verbatim,
}

/// The format with this name.
#[must_use]
pub fn format_named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name).copied()
}

/// The format of a service: its own or, if it has none, [`Verbatim`].
#[must_use]
pub fn format_of_service(service: &str) -> &'static Format {
    format_named(service).filter(|format| !format.has_scheme).unwrap_or(&verbatim::FORMAT)
}

/// The URL schemes of destinations, `https` before `http`.
#[must_use]
pub fn destination_schemes() -> Vec<String> {
    let named = FORMATS.iter().filter(|format| format.has_scheme);
    named.flat_map(|format| ["https", "http"].map(|transport| format!("{}+{transport}", format.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_names_are_unique_and_schemes_derive_from_them() {
        let mut names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
        names.dedup();
        assert_eq!(names.len(), FORMATS.len());
        let schemes = destination_schemes();
        assert!(schemes.contains(&"cloudevents+https".to_owned()) && schemes.contains(&"jsonl+http".to_owned()));
        assert!(!schemes.iter().any(|scheme| scheme.contains("verbatim")));
        assert_eq!(format_of_service("teer").name, "verbatim");
        // A format that only URLs name is not the format of a service with the same name.
        assert_eq!(format_of_service("jsonl").name, "verbatim");
    }
}
