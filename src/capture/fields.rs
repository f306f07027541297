//! Finds the fields of usage objects by name, reads them as counts, and adds them up.

use serde_json::Value;

use super::tables::Field;
use crate::event::usage::MAX_COUNT;
use crate::event::{Unit, Usage};
use crate::money::Usd;

/// The name of a field that is neither null nor a valid count, or of the object that should contain it but cannot.
pub(super) fn unreadable(report: &Value, field: &Field) -> Option<&'static str> {
    let holder = find(report, &field.path[..1])?;
    let can_hold = match field.path.get(1) {
        None => true,
        Some(step) if step.contains('=') => holder.is_array(),
        Some(_) => holder.is_object(),
    };
    if !can_hold {
        return field.path.first().copied().filter(|_| !holder.is_null());
    }
    let value = find(report, field.path)?;
    (!value.is_null() && stored_count(value, field.unit).is_none()).then(|| field.path.last().copied()).flatten()
}

/// Adds all fields of a table that are present.
pub(super) fn add_all(usage: &mut Usage, report: &Value, fields: &[Field]) {
    for field in fields {
        if field.is_alternative && usage.count(field.unit) > 0 {
            continue;
        }
        // Most fields of a table are absent.
        let Some(holder) = find(report, &field.path[..1]) else { continue };
        each_value(holder, &field.path[1..], |value| {
            if let Some(count) = stored_count(value, field.unit) {
                add(usage, field.unit, count);
            }
        });
    }
}

/// Adds to a count. A part of zero is left out, except an overlap: that it is empty matters.
pub(super) fn add(usage: &mut Usage, unit: Unit, count: u64) {
    let (mut dimensions, mut has_modality) = (0, false);
    for dimension in unit.dimensions() {
        dimensions += 1;
        has_modality |= dimension.starts_with("modality=");
    }
    let (is_total, is_overlap) = (dimensions <= 2, has_modality && dimensions >= 4);
    if count > 0 || is_total || is_overlap {
        usage.set(unit, usage.count(unit).saturating_add(count).min(MAX_COUNT));
    }
}

/// The value at a path. Names are tried as they are and in snake case, which Python clients use. A step `name=value` selects the item
/// of a list that has this value.
pub(super) fn find<'a>(report: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(report, |value, step| match (value, step.split_once('=')) {
        (Value::Array(items), Some((name, wanted))) => items
            .iter()
            .find(|item| item.get(name).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(wanted))),
        (Value::Object(fields), None) => fields.get(*step).or_else(|| {
            step.bytes().any(|byte| byte.is_ascii_uppercase()).then(|| fields.get(&snake_case(step))).flatten()
        }),
        _ => None,
    })
}

/// Calls `look` with all values at a path, because a list may have a modality more than once.
fn each_value(holder: &Value, path: &'static [&'static str], mut look: impl FnMut(&Value)) {
    let wanted = path.first().and_then(|step| step.split_once('='));
    let (Value::Array(items), Some((name, wanted))) = (holder, wanted) else {
        return find(holder, path).into_iter().for_each(look);
    };
    let is_wanted =
        |item: &&Value| item.get(name).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(wanted));
    items.iter().filter(is_wanted).filter_map(|item| find(item, &path[1..])).for_each(&mut look);
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// The count at a path. A float is valid if it is whole.
pub(super) fn count(report: &Value, path: &[&str]) -> Option<u64> {
    stored_count(find(report, path)?, Unit::INPUT_TOKENS)
}

pub(super) fn stored_count(value: &Value, unit: Unit) -> Option<u64> {
    let scale = unit.scale();
    let count = if scale == 1 {
        let whole = |number: &f64| *number >= 0.0 && number.fract() == 0.0;
        value.as_u64().or_else(|| value.as_f64().filter(whole).map(|number| number as u64))?
    } else {
        (value.as_f64().filter(|number| *number >= 0.0)? * scale as f64).round() as u64
    };
    (count <= MAX_COUNT).then_some(count)
}

/// An amount from a number in a provider's JSON: the shortest decimal that reads as the same number.
pub(super) fn amount(value: &Value) -> Option<Usd> {
    let text = match value {
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(number)) if number.is_finite() => number.to_string(),
            _ => return None,
        },
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let rounded = || value.as_f64().and_then(|number| format!("{number:.24}").parse().ok());
    text.parse().ok().or_else(rounded).filter(|amount| *amount >= Usd::ZERO)
}
