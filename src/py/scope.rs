//! Attribution that applies to more than one call, encoded once.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::{as_dict, text};
use crate::event::Attribution;
use crate::event::binary::encode_attribution;

/// Whether any scope was ever made: until then, `track()` need not ask for the current one.
pub(super) static EXISTS: AtomicBool = AtomicBool::new(false);

/// The attribution of a scope, with that of the scopes around it.
#[pyclass(frozen, name = "Scope", module = "taximeter._core")]
pub(super) struct PyScope {
    pub(super) encoded: Box<[u8]>,
}

#[pymethods]
impl PyScope {
    #[new]
    #[pyo3(signature = (outer=None, *, agent=None, feature=None, team=None, customer=None, user=None, session=None, tags=None))]
    #[expect(clippy::too_many_arguments, reason = "the fields of an attribution")]
    fn new(
        outer: Option<&Bound<'_, Self>>,
        agent: Option<&Bound<'_, PyAny>>,
        feature: Option<&Bound<'_, PyAny>>,
        team: Option<&Bound<'_, PyAny>>,
        customer: Option<&Bound<'_, PyAny>>,
        user: Option<&Bound<'_, PyAny>>,
        session: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let given = [agent, feature, team, customer, user, session];
        let mut texts = Vec::with_capacity(given.len());
        for (name, value) in ["agent", "feature", "team", "customer", "user", "session"].into_iter().zip(given) {
            texts.push(value.map(|value| required_text(name, value)).transpose()?.unwrap_or_default());
        }
        let tags = tags.map(|tags| as_dict(tags, "tags")).transpose()?;
        let pairs = tags.as_ref().map(tag_pairs).transpose()?.unwrap_or_default();
        let present = |index: usize| Some(&*texts[index]).filter(|text: &&str| !text.is_empty());
        let attribution = Attribution {
            agent: present(0),
            feature: present(1),
            team: present(2),
            customer: present(3),
            user: present(4),
            session: present(5),
            tags: pairs.iter().map(|(key, value)| (&**key, &**value)).collect(),
        };
        let mut encoded = outer.map_or_else(Vec::new, |outer| outer.get().encoded.to_vec());
        encode_attribution(&attribution, &mut encoded);
        // What an inner scope overrides is not carried along; and so deep nests stay within one layer's limits.
        let encoded = compact(&encoded);
        EXISTS.store(true, Ordering::Relaxed);
        Ok(Self { encoded })
    }
}

/// One layer that says the same as several.
fn compact(layers: &[u8]) -> Box<[u8]> {
    let mut event = Vec::new();
    crate::event::binary::encode(&crate::event::UsageEvent::default(), &[layers], &mut event);
    let mut one = Vec::with_capacity(layers.len());
    if let Ok(event) = crate::event::binary::decode(&event) {
        encode_attribution(&event.attribution, &mut one);
    }
    one.into()
}

fn required_text<'a>(name: &str, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    match text(value) {
        Ok((text, _)) => Ok(text),
        Err(_) => Err(pyo3::exceptions::PyTypeError::new_err(format!("{name} must be a text, a number or a UUID"))),
    }
}

fn tag_pairs(tags: &Bound<'_, PyDict>) -> PyResult<Vec<(String, String)>> {
    let mut pairs = Vec::with_capacity(tags.len());
    for (key, value) in tags {
        if !value.is_none() {
            pairs.push((required_text("a tag's key", &key)?.into_owned(), required_text("a tag's value", &value)?.into_owned()));
        }
    }
    Ok(pairs)
}
