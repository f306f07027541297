//! Values of calls as an export writes them: as JSON, or as cells of CSV.

use std::io::Write;

use rusqlite::types::ValueRef;
use serde::de::IgnoredAny;
use serde_json::value::Value as Json;

use super::hours::USAGE_NAMES;
use crate::event::json::{time_text, write_text};

/// The characters with which a spreadsheet lets a formula begin.
const FORMULA: &[u8] = b"=+-@\t\r";
const NANOSECONDS: u64 = 1_000_000_000;

/// How the values of a column are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Time,
    Flag,
    /// Names by comma, which become a list.
    Names,
    /// A text with JSON in it.
    Nested,
    /// Written even if it is absent.
    Cost,
    Plain,
}

impl Kind {
    /// That of the column with a name.
    pub(super) fn of(column: &str) -> Self {
        match column {
            "started_at" => Self::Time,
            "batch" => Self::Flag,
            "cost_notes" => Self::Names,
            "usage" | "provider_usage" | "tags" => Self::Nested,
            "cost_usd" => Self::Cost,
            _ => Self::Plain,
        }
    }
}

/// Writes a value as a cell of CSV.
pub(super) fn csv_value(
    kind: Kind,
    value: ValueRef<'_>,
    is_raw: bool,
    clock: &mut Clock,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    match (kind, value) {
        (_, ValueRef::Null) => {}
        (Kind::Time, ValueRef::Integer(ns)) => clock.write(ns.max(0) as u64, out),
        (Kind::Flag, ValueRef::Integer(flag)) => {
            out.extend_from_slice(if flag == 0 { b"False" } else { b"True" });
        }
        (Kind::Plain | Kind::Cost, ValueRef::Text(text)) => cell(text, is_raw, out),
        (Kind::Names | Kind::Nested, value) => {
            scratch.clear();
            json_value(kind, value, clock, scratch);
            cell(scratch, is_raw, out);
        }
        (kind, value) => json_value(kind, value, clock, out),
    }
}

/// Writes a value as JSON.
pub(super) fn json_value(kind: Kind, value: ValueRef<'_>, clock: &mut Clock, out: &mut Vec<u8>) {
    match (kind, value) {
        (Kind::Time, ValueRef::Integer(ns)) => {
            out.push(b'"');
            clock.write(ns.max(0) as u64, out);
            out.push(b'"');
        }
        (Kind::Flag, ValueRef::Integer(flag)) => out.extend_from_slice(if flag == 0 { b"false" } else { b"true" }),
        (Kind::Names, ValueRef::Text(names)) => {
            let names: Json = String::from_utf8_lossy(names).split(',').collect();
            write_json(&names, out);
        }
        (Kind::Nested, ValueRef::Text(text)) => nested(text, out),
        (_, ValueRef::Integer(number)) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        (_, ValueRef::Real(number)) => write_json(&number, out),
        (_, ValueRef::Text(text)) => match std::str::from_utf8(text) {
            Ok(text) => write_text(out, text),
            Err(_) => write_json(&*String::from_utf8_lossy(text), out),
        },
        (_, ValueRef::Null | ValueRef::Blob(_)) => out.extend_from_slice(b"null"),
    }
}

/// Writes usage that has only the counts of the ledger's columns.
pub(super) fn write_counts(counts: &[u64; 5], out: &mut Vec<u8>) {
    let begin = out.len();
    for (name, count) in USAGE_NAMES.iter().zip(counts).filter(|(_, count)| **count != 0) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(itoa::Buffer::new().format(*count).as_bytes());
    }
    match out.get_mut(begin) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

/// Writes a value. Writing into memory does not fail, and these values have no keys that could be invalid.
fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, value);
}

/// Writes a stored JSON text as it is, if it is one and has no line breaks. Other tools may have written something else.
fn nested(text: &[u8], out: &mut Vec<u8>) {
    let is_one_line = text.iter().all(|byte| *byte >= b' ');
    if is_one_line && std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok() {
        out.extend_from_slice(text);
    } else {
        write_json(&serde_json::from_slice::<Json>(text).unwrap_or(Json::Null), out);
    }
}

/// Writes a text as a cell of CSV: safe for a terminal and a spreadsheet, unless it is to stay as it is.
pub(super) fn cell(text: &[u8], is_raw: bool, out: &mut Vec<u8>) {
    let begin = out.len();
    if !is_raw && text.first().is_some_and(|first| FORMULA.contains(first)) {
        out.push(b'\'');
    }
    if is_raw || text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        match std::str::from_utf8(text) {
            Ok(_) => out.extend_from_slice(text),
            Err(_) => out.extend_from_slice(String::from_utf8_lossy(text).as_bytes()),
        }
    } else {
        String::from_utf8_lossy(text).chars().for_each(|character| printable(character, out));
    }
    if out[begin..].iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        let plain = out.split_off(begin);
        out.push(b'"');
        for byte in plain {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

/// Writes a character, or an escape such as `\x1b` if it is not printable: as `taximeter.sanitize.printable`.
fn printable(character: char, out: &mut Vec<u8>) {
    let code = u32::from(character);
    let is_printable = match character {
        ' '..='~' => true,
        '\0'..='\u{a0}' => false,
        // As part of a text, marks that combine with the character before are not escaped.
        _ => {
            let mut buffer = [b'.', 0, 0, 0, 0];
            let length = 1 + character.encode_utf8(&mut buffer[1..]).len();
            let text = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
            text.escape_debug().nth(1) != Some('\\')
        }
    };
    let mut utf8 = [0; 4];
    let _ = match character {
        _ if is_printable => out.write(character.encode_utf8(&mut utf8).as_bytes()).map(drop),
        '\n' => out.write_all(b"\\n"),
        '\r' => out.write_all(b"\\r"),
        '\t' => out.write_all(b"\\t"),
        _ if code <= 0xff => write!(out, "\\x{code:02x}"),
        _ if code <= 0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// The days that a [`Clock`] keeps.
const DAYS: usize = 128;

/// Writes times. Most are on days that others were on.
pub(super) struct Clock {
    /// By the number of the day modulo [`DAYS`]: that number and its text up to the `T`.
    days: Vec<(u64, Vec<u8>)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { days: vec![(u64::MAX, Vec::new()); DAYS] }
    }
}

impl Clock {
    fn write(&mut self, unix_ns: u64, out: &mut Vec<u8>) {
        const DATE: usize = "2026-11-29T".len();
        let (second, fraction) = (unix_ns / NANOSECONDS, unix_ns % NANOSECONDS);
        let (day, second) = (second / 86_400, second % 86_400);
        let known = &mut self.days[(day % DAYS as u64) as usize];
        if known.0 != day {
            let text = time_text(day * 86_400 * NANOSECONDS);
            *known = (day, text.as_bytes()[..DATE].to_vec());
        }
        out.extend_from_slice(&known.1);
        let mut text = *b"00:00:00.000000000Z";
        let mut put = |from: usize, to: usize, mut number: u64| {
            for digit in text[from..to].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 2, second / 3600);
        put(3, 5, second / 60 % 60);
        put(6, 8, second % 60);
        put(9, 18, fraction);
        out.extend_from_slice(&text);
    }
}
