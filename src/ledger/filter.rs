//! The selection of events for a report, a page of events or a repricing.

use std::cmp::Ordering;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::dimension::{Dimension, is_number, is_numbered};
use super::error::LedgerError;
use super::texts;
use crate::money::Usd;

/// How a condition compares a field with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// It is one of them.
    Is,
    /// It is not one of them.
    IsNot,
    /// It contains one of them, in any case of letters.
    Contains,
    /// A number above one of them.
    Above,
    /// A number below one of them.
    Below,
}

impl Op {
    /// The operator with this sign: `=`, `!=`, `~`, `>` or `<`.
    #[must_use]
    pub fn from_sign(sign: &str) -> Option<Self> {
        Some(match sign {
            "=" => Self::Is,
            "!=" => Self::IsNot,
            "~" => Self::Contains,
            ">" => Self::Above,
            "<" => Self::Below,
            _ => return None,
        })
    }
}

/// A condition on one field. An event without the field meets only `Is` with `None` among its values, and `IsNot` without.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The field.
    pub field: Dimension,
    /// The comparison.
    pub op: Op,
    /// The values, of which one has to do; `None` is an absent value.
    pub values: Vec<Option<String>>,
}

/// A selection of events.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only events that started at this time or later, in nanoseconds since the Unix epoch.
    pub since: Option<u64>,
    /// Only events that started before this time.
    pub until: Option<u64>,
    /// Only events that meet all of these.
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// The WHERE clause over `events`. Appends its parameters to `values` in order.
    pub(super) fn clause(&self, values: &mut Vec<Value>) -> String {
        let mut parts = self.times(values);
        for condition in &self.conditions {
            let field = condition.field.over_events(values);
            parts.push(condition.over(&field, values));
        }
        joined(&parts)
    }

    /// As [`Self::clause`], over `calls`.
    pub(super) fn clause_over_calls(
        &self,
        connection: &Connection,
        values: &mut Vec<Value>,
    ) -> Result<String, LedgerError> {
        let mut parts = self.times(values);
        for condition in &self.conditions {
            parts.push(condition.over_calls(connection, values)?);
        }
        Ok(joined(&parts))
    }

    fn times(&self, values: &mut Vec<Value>) -> Vec<String> {
        let mut parts = Vec::new();
        let nanoseconds = |time: u64| Value::Integer(i64::try_from(time).unwrap_or(i64::MAX));
        if let Some(since) = self.since {
            parts.push("started_at >= ?".to_owned());
            values.push(nanoseconds(since));
        }
        if let Some(until) = self.until {
            parts.push("started_at < ?".to_owned());
            values.push(nanoseconds(until));
        }
        parts
    }

    /// As [`Self::clause`], for events after a sequence number.
    pub(super) fn clause_after(&self, after: i64, values: &mut Vec<Value>) -> String {
        let clause = self.clause(values);
        values.push(Value::Integer(after));
        format!("{clause} {} seq > ?", if clause.is_empty() { "WHERE" } else { "AND" })
    }

    /// Whether an index has exactly the events of the filter, in the order of time.
    pub(super) fn is_indexed(&self) -> bool {
        self.conditions.len() < 2 && self.conditions.iter().all(|condition| condition.indexed().is_some())
    }

    /// As [`Self::clause`], for a statement in the order of time. It can use the indexes of failed and of unpriced events, which would
    /// make SQLite sort all of them in a statement in the order of arrival.
    pub(super) fn clause_by_time(&self, values: &mut Vec<Value>) -> String {
        let clause = self.clause(values);
        self.conditions
            .iter()
            .filter_map(Condition::indexed)
            .fold(clause, |clause, part| format!("{clause} AND {part}"))
    }
}

fn joined(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
}

impl Condition {
    /// A condition on a field.
    ///
    /// # Errors
    /// If the field is unknown, has no order for `Above` and `Below`, or a value is not a number of its kind.
    pub fn new(field: &str, op: Op, values: Vec<Option<String>>) -> Result<Self, LedgerError> {
        let dimension = Dimension::parse_filter(field)?;
        let is_number = is_number(&dimension);
        let wrong = |rule: String| Err(LedgerError::Query(format!("{field}: {rule}")));
        if matches!(op, Op::Above | Op::Below) && !is_number {
            return wrong("is a text, so no value is above or below another; use = != or ~".to_owned());
        }
        if op == Op::Contains && is_number {
            return wrong("is a number; use = != > or <".to_owned());
        }
        if values.is_empty() {
            return wrong("has no value to compare with".to_owned());
        }
        for value in &values {
            match value {
                None if matches!(op, Op::Is | Op::IsNot) => {}
                None => return wrong("an absent value has no order and no parts; use = or !=".to_owned()),
                Some(value) if is_number && !is_plain_number(value) => {
                    return wrong(format!("{value:?} is not a decimal number"));
                }
                Some(_) => {}
            }
        }
        Ok(Self { field: dimension, op, values })
    }

    /// Whether it is met by equal texts only, or by all others.
    pub(super) fn compares_texts(&self) -> bool {
        matches!(self.op, Op::Is | Op::IsNot) && matches!(self.field, Dimension::Column(_)) && !is_number(&self.field)
    }

    /// Whether a text, empty if absent, meets the condition. The same as the SQL condition.
    pub(super) fn meets(&self, text: &str) -> bool {
        let mut values = self.values.iter().map(|value| value.as_deref().unwrap_or_default());
        match self.op {
            Op::Is => values.any(|value| value == text),
            Op::IsNot => !values.any(|value| value == text),
            Op::Contains => {
                let text = text.to_lowercase();
                values.any(|value| text.contains(&value.to_lowercase()))
            }
            Op::Above | Op::Below => false,
        }
    }

    /// Whether a number meets the condition.
    pub(super) fn meets_number(&self, number: Option<f64>) -> bool {
        self.meets_order(
            |value| number.map(|number| number.total_cmp(&value.parse().unwrap_or_default())),
            number.is_none(),
        )
    }

    /// Whether an amount meets the condition.
    pub(super) fn meets_amount(&self, amount: Option<Usd>) -> bool {
        let order = |value: &str| Some(amount?.cmp(&value.parse().ok()?));
        self.meets_order(order, amount.is_none())
    }

    fn meets_order(&self, order: impl Fn(&str) -> Option<Ordering>, is_absent: bool) -> bool {
        let wanted = match self.op {
            Op::Above => Ordering::Greater,
            Op::Below => Ordering::Less,
            Op::Is | Op::IsNot | Op::Contains => Ordering::Equal,
        };
        let is_one = self.values.iter().any(|value| match value {
            None => is_absent,
            Some(value) => order(value) == Some(wanted),
        });
        is_one != (self.op == Op::IsNot)
    }

    /// The same condition as an index of a part of the events needs it: over the column, with the value in the statement.
    fn indexed(&self) -> Option<&'static str> {
        match (self.op, &self.field, &self.values[..]) {
            (Op::Is, Dimension::Column("status"), [Some(value)]) if value == "error" => Some("status = 'error'"),
            (Op::Is, Dimension::Column("cost_status"), [Some(value)]) if value == "unpriced" => {
                Some("cost_status = 'unpriced'")
            }
            _ => None,
        }
    }

    /// The SQL condition over an expression of the field. Appends its parameters to `values`.
    pub(super) fn over(&self, field: &str, values: &mut Vec<Value>) -> String {
        let (is_negative, op) = (self.op == Op::IsNot, self.op);
        if is_number(&self.field) {
            return self.over_number(field, values);
        }
        values.extend(self.values.iter().map(|value| Value::Text(value.clone().unwrap_or_default())));
        let marks = vec!["?"; self.values.len()].join(", ");
        if op == Op::Contains {
            return format!("contains_any({field}, {marks})");
        }
        format!("{field} {}IN ({marks})", if is_negative { "NOT " } else { "" })
    }

    /// The SQL condition over `calls`. Equal texts have equal numbers, so most texts are not looked up for each row.
    fn over_calls(&self, connection: &Connection, values: &mut Vec<Value>) -> Result<String, LedgerError> {
        /// The number of a text that no call has.
        const UNKNOWN: i64 = -1;
        let numbers = match (&self.field, self.op) {
            (Dimension::Column(name), Op::Is | Op::IsNot) if is_numbered(name) => name,
            (field, _) => {
                let field = field.over_calls(values);
                return Ok(self.over(&field, values));
            }
        };
        let number = |value: &Option<String>| match value.as_deref().unwrap_or_default() {
            "" => Ok(i64::from(texts::ABSENT)),
            text => Ok::<_, LedgerError>(texts::find(connection, text)?.map_or(UNKNOWN, i64::from)),
        };
        let list =
            self.values.iter().map(|value| Ok(number(value)?.to_string())).collect::<Result<Vec<_>, LedgerError>>()?;
        let not = if self.op == Op::IsNot { "NOT " } else { "" };
        Ok(format!("{numbers} {not}IN ({})", list.join(", ")))
    }

    /// As [`Self::over`], for numbers. Amounts are texts, which a function compares exactly.
    fn over_number(&self, field: &str, values: &mut Vec<Value>) -> String {
        let is_amount = self.field == Dimension::Column("cost_usd");
        let sign = match self.op {
            Op::Above => ">",
            Op::Below => "<",
            Op::Is | Op::IsNot | Op::Contains => "=",
        };
        let parts = self.values.iter().map(|value| match value {
            None => format!("{field} IS NULL"),
            Some(value) if is_amount => {
                values.push(Value::Text(value.clone()));
                format!("ifnull(usd_order({field}, ?) {sign} 0, 0)")
            }
            Some(value) => {
                values.push(number(value));
                format!("ifnull({field} {sign} ?, 0)")
            }
        });
        let any = parts.collect::<Vec<_>>().join(" OR ");
        format!("{}({any})", if self.op == Op::IsNot { "NOT " } else { "" })
    }
}

/// Whether a text is a decimal number as amounts are written, so that it means the same for any field.
fn is_plain_number(text: &str) -> bool {
    text.parse::<Usd>().is_ok()
}

fn number(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::Real(text.parse().unwrap_or_default()), Value::Integer)
}
