//! The columns of events and reports in Arrow's types, and how they are filled.

use std::fmt;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder,
    StringDictionaryBuilder, TimestampNanosecondBuilder,
};
use arrow_array::types::Int32Type;
use arrow_schema::{DataType, Field, TimeUnit};
use rusqlite::types::ValueRef;
use serde_json::{Map, value::Value as Json};

use super::error::LedgerError;
use crate::money::{AmountError, SCALE, Usd};

/// The decimal digits of an amount, the most that the type has.
const DIGITS: u8 = 38;
const ZONE: &str = "UTC";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Texts that are mostly different.
    Text,
    /// Texts of which there are few. A batch stores each once.
    Word,
    Count,
    Number,
    Flag,
    Time,
    Money,
    /// Names with counts.
    Usage,
    /// Names with texts.
    Tags,
}

/// The columns of an event, in order.
pub(super) const COLUMNS: [(&str, Kind); 39] = [
    ("id", Kind::Text),
    ("started_at", Kind::Time),
    ("provider", Kind::Word),
    ("model", Kind::Word),
    ("operation", Kind::Word),
    ("status", Kind::Word),
    ("error", Kind::Word),
    ("finish_reason", Kind::Word),
    ("input_tokens", Kind::Count),
    ("output_tokens", Kind::Count),
    ("cache_read_tokens", Kind::Count),
    ("cache_write_tokens", Kind::Count),
    ("reasoning_tokens", Kind::Count),
    ("usage", Kind::Usage),
    ("provider_usage", Kind::Text),
    ("usage_status", Kind::Word),
    ("cost_usd", Kind::Money),
    ("cost_status", Kind::Word),
    ("computed_cost_usd", Kind::Money),
    ("cache_saved_usd", Kind::Money),
    ("cost_notes", Kind::Word),
    ("priced_as", Kind::Word),
    ("catalog", Kind::Word),
    ("latency_ms", Kind::Number),
    ("ttft_ms", Kind::Number),
    ("service_tier", Kind::Word),
    ("region", Kind::Word),
    ("batch", Kind::Flag),
    ("agent", Kind::Word),
    ("feature", Kind::Word),
    ("team", Kind::Word),
    ("customer", Kind::Text),
    ("user", Kind::Text),
    ("session", Kind::Text),
    ("tags", Kind::Tags),
    ("trace_id", Kind::Text),
    ("span_id", Kind::Text),
    ("parent_span_id", Kind::Text),
    ("call_id", Kind::Text),
];

impl Kind {
    pub(super) fn data_type(self) -> DataType {
        let map = |value: DataType| {
            let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)];
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)), false)
        };
        match self {
            Self::Text => DataType::Utf8,
            Self::Word => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Count => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Flag => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some(ZONE.into())),
            Self::Money => DataType::Decimal128(DIGITS, SCALE as i8),
            Self::Usage => map(DataType::Float64),
            Self::Tags => map(DataType::Utf8),
        }
    }
}

/// What an error is about whose value is in the ledger.
pub(super) fn invalid(error: impl fmt::Display) -> LedgerError {
    LedgerError::Query(format!("the ledger has a value that Arrow cannot hold: {error}"))
}

/// A column of a batch that is being filled.
pub(super) enum Builder {
    Text(StringBuilder),
    Word(StringDictionaryBuilder<Int32Type>),
    Count(Int64Builder),
    Number(Float64Builder),
    Flag(BooleanBuilder),
    Time(TimestampNanosecondBuilder),
    Money(Decimal128Builder),
    Usage(MapBuilder<StringBuilder, Float64Builder>),
    Tags(MapBuilder<StringBuilder, StringBuilder>),
}

impl Builder {
    pub(super) fn new(kind: Kind) -> Self {
        let names = || Some(MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() });
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Word => Self::Word(StringDictionaryBuilder::new()),
            Kind::Count => Self::Count(Int64Builder::new()),
            Kind::Number => Self::Number(Float64Builder::new()),
            Kind::Flag => Self::Flag(BooleanBuilder::new()),
            Kind::Time => Self::Time(TimestampNanosecondBuilder::new().with_timezone(ZONE)),
            Kind::Money => Self::Money(Decimal128Builder::new().with_data_type(kind.data_type())),
            Kind::Usage => Self::Usage(MapBuilder::new(names(), StringBuilder::new(), Float64Builder::new())),
            Kind::Tags => Self::Tags(MapBuilder::new(names(), StringBuilder::new(), StringBuilder::new())),
        }
    }

    /// Appends a value of the database. One of another type is absent: it was not written by this library.
    pub(super) fn append(&mut self, value: ValueRef<'_>) -> Result<(), LedgerError> {
        let text = match value {
            ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        };
        let integer = match value {
            ValueRef::Integer(number) => Some(number),
            _ => None,
        };
        match self {
            Self::Text(builder) => builder.append_option(text),
            Self::Word(builder) => builder.append_option(text),
            Self::Count(builder) => builder.append_option(integer),
            Self::Number(builder) => builder.append_option(match value {
                ValueRef::Real(number) => Some(number),
                _ => integer.map(|number| number as f64),
            }),
            Self::Flag(builder) => builder.append_option(integer.map(|number| number != 0)),
            Self::Time(builder) => builder.append_option(integer),
            Self::Money(_) => self.append_money(text.map(|text| text.parse()).transpose()?)?,
            Self::Usage(builder) => {
                let counts = text.as_deref().and_then(object);
                for (name, count) in counts.iter().flatten() {
                    builder.keys().append_value(name);
                    builder.values().append_option(count.as_f64());
                }
                builder.append(counts.is_some()).map_err(invalid)?;
            }
            Self::Tags(builder) => {
                let tags = text.as_deref().and_then(object);
                for (name, tag) in tags.iter().flatten() {
                    builder.keys().append_value(name);
                    builder.values().append_option(tag.as_str());
                }
                builder.append(tags.is_some()).map_err(invalid)?;
            }
        }
        Ok(())
    }

    /// Appends a value to a column of words.
    pub(super) fn append_word(&mut self, word: Option<&str>) {
        if let Self::Word(builder) = self {
            builder.append_option(word);
        }
    }

    /// Appends a value to a column of counts.
    pub(super) fn append_count(&mut self, count: i64) {
        if let Self::Count(builder) = self {
            builder.append_value(count);
        }
    }

    /// Appends a value to a column of amounts.
    pub(super) fn append_money(&mut self, amount: Option<Usd>) -> Result<(), LedgerError> {
        if let Some(amount) = amount.filter(|amount| amount.units().unsigned_abs() >= 10_u128.pow(DIGITS.into())) {
            return Err(AmountError::TooLarge(amount.to_string()).into());
        }
        if let Self::Money(builder) = self {
            builder.append_option(amount.map(Usd::units));
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Word(builder) => Arc::new(builder.finish()),
            Self::Count(builder) => Arc::new(builder.finish()),
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Flag(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Money(builder) => Arc::new(builder.finish()),
            Self::Usage(builder) => Arc::new(builder.finish()),
            Self::Tags(builder) => Arc::new(builder.finish()),
        }
    }
}

fn object(text: &str) -> Option<Map<String, Json>> {
    serde_json::from_str(text).ok()
}
