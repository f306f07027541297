//! Scopes: attribution that applies to more than one call and is encoded once.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::{as_dict, text};
use crate::event::Attribution;
use crate::event::binary::encode_attribution;

/// Whether any scope was ever created. Until then, `track()` skips the lookup of the current one.
pub(super) static EXISTS: AtomicBool = AtomicBool::new(false);

#[doc = stub_doc!("Scope")]
#[pyclass(frozen, name = "Scope", module = "taximeter._core")]
pub(super) struct PyScope {
    pub(super) encoded: Box<[u8]>,
}

#[pymethods]
impl PyScope {
    #[new]
    #[pyo3(signature = (outer=None, **fields))]
    fn new(py: Python<'_>, outer: Option<&Bound<'_, Self>>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        EXISTS.store(true, Ordering::Relaxed);
        let outer = outer.map(|outer| &*outer.get().encoded);
        let fields = fields.map_or_else(|| PyDict::new(py), Clone::clone);
        Ok(Self { encoded: encode_fields(outer, &fields)? })
    }

    #[doc = stub_doc!("Scope.over")]
    fn over(&self, outer: &Bound<'_, Self>) -> Self {
        Self { encoded: compact(&[&*outer.get().encoded, &*self.encoded].concat()) }
    }
}

const FIELDS: [&str; 6] = ["agent", "feature", "team", "customer", "user", "session"];

/// Encodes fields, given by name, together with the outer layers, as one layer of attribution.
pub(super) fn encode_fields(outer: Option<&[u8]>, fields: &Bound<'_, PyDict>) -> PyResult<Box<[u8]>> {
    let mut texts: [Option<String>; 6] = Default::default();
    let mut pairs = Vec::new();
    for (name, value) in fields {
        let name = name.extract::<String>()?;
        if value.is_none() {
            continue;
        }
        if let Some(index) = FIELDS.iter().position(|field| *field == name) {
            texts[index] = Some(required_text(&name, &value)?.into_owned()).filter(|text| !text.is_empty());
        } else if name == "tags" {
            pairs = tag_pairs(&as_dict(&value, "tags")?)?;
        } else {
            return Err(PyTypeError::new_err(format!("{name} is not an attribution field")));
        }
    }
    let [agent, feature, team, customer, user, session] = texts.each_ref().map(Option::as_deref);
    let tags = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
    let attribution = Attribution { agent, feature, team, customer, user, session, tags };
    let mut layers = outer.map_or_else(Vec::new, <[u8]>::to_vec);
    encode_attribution(&attribution, &mut layers);
    // Drop what the inner scope overrides. This also keeps deeply nested scopes within the limits of one layer.
    Ok(compact(&layers))
}

/// Merges several layers into one.
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
        Err(_) => Err(PyTypeError::new_err(format!("{name} must be a text, a number or a UUID"))),
    }
}

fn tag_pairs(tags: &Bound<'_, PyDict>) -> PyResult<Vec<(String, String)>> {
    let mut pairs = Vec::with_capacity(tags.len());
    for (key, value) in tags {
        if !value.is_none() {
            pairs.push((
                required_text("a tag's key", &key)?.into_owned(),
                required_text("a tag's value", &value)?.into_owned(),
            ));
        }
    }
    Ok(pairs)
}
