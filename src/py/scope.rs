//! Scopes: attribution that applies to more than one call and is encoded once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyDict};

use super::convert::{as_dict, text};
use crate::budget::Run;
use crate::event::Attribution;
use crate::event::binary::encode_attribution;

/// Whether any scope was ever created. Until then, `track()` skips the lookup of the current one.
pub(super) static EXISTS: AtomicBool = AtomicBool::new(false);

#[doc = stub_doc!("Scope")]
#[pyclass(frozen, name = "Scope", module = "taximeter._core")]
pub(super) struct PyScope {
    pub(super) encoded: Box<[u8]>,
    /// The budget of the run around the calls, if there is one.
    pub(super) run: Option<Arc<Run>>,
}

impl PyScope {
    /// The attribution of a scope; `None` if it has the budget of a run, to which the call has to be charged.
    #[inline]
    pub(super) fn plain<'a>(scope: Option<&'a Bound<'_, Self>>) -> Option<&'a [u8]> {
        match scope.map(Bound::get) {
            None => Some(&[]),
            Some(Self { encoded, run: None }) => Some(encoded),
            Some(_) => None,
        }
    }
}

fn run_of(outer: Option<&Bound<'_, PyScope>>) -> Option<Arc<Run>> {
    outer.and_then(|outer| outer.get().run.clone())
}

#[pymethods]
impl PyScope {
    #[new]
    #[pyo3(signature = (outer=None, **fields))]
    fn new(py: Python<'_>, outer: Option<&Bound<'_, Self>>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        EXISTS.store(true, Ordering::Relaxed);
        let (run, outer) = (run_of(outer), outer.map(|outer| &*outer.get().encoded));
        let fields = fields.map_or_else(|| PyDict::new(py), Clone::clone);
        Ok(Self { encoded: encode_fields(outer, &fields)?, run })
    }

    #[doc = stub_doc!("Scope.lenient")]
    #[staticmethod]
    fn lenient(outer: Option<&Bound<'_, Self>>, fields: &Bound<'_, PyDict>) -> PyResult<(Self, Vec<String>)> {
        EXISTS.store(true, Ordering::Relaxed);
        let mut dropped = Vec::new();
        let encoded = encode(outer.map(|outer| &*outer.get().encoded), fields, |name, _| {
            dropped.push(name.to_owned());
            Ok(())
        })?;
        Ok((Self { encoded, run: run_of(outer) }, dropped))
    }

    #[doc = stub_doc!("Scope.fields")]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut event = Vec::new();
        crate::event::binary::encode(&crate::event::UsageEvent::default(), &[&self.encoded], &mut event);
        let fields = PyDict::new(py);
        if let Ok(event) = crate::event::binary::decode(&event) {
            let Attribution { agent, feature, team, customer, user, session, tags } = event.attribution;
            for (name, value) in FIELDS.into_iter().zip([agent, feature, team, customer, user, session]) {
                if let Some(value) = value {
                    fields.set_item(name, value)?;
                }
            }
            if !tags.is_empty() {
                fields.set_item("tags", tags.into_py_dict(py)?)?;
            }
        }
        Ok(fields)
    }

    #[doc = stub_doc!("Scope.over")]
    fn over(&self, outer: &Bound<'_, Self>) -> Self {
        Self {
            encoded: compact(&[&*outer.get().encoded, &*self.encoded].concat()),
            run: self.run.clone().or_else(|| outer.get().run.clone()),
        }
    }
}

const FIELDS: [&str; 6] = ["agent", "feature", "team", "customer", "user", "session"];

/// Encodes fields, given by name, together with the outer layers, as one layer of attribution.
pub(super) fn encode_fields(outer: Option<&[u8]>, fields: &Bound<'_, PyDict>) -> PyResult<Box<[u8]>> {
    encode(outer, fields, |name, rule| Err(PyTypeError::new_err(format!("{name} {rule}"))))
}

const TEXT: &str = "must be a text, a number, an id, a date, an Enum or bytes";

/// Like `encode_fields`. `invalid` is called for each field or tag that cannot be recorded. It returns an error, or `Ok` to omit only
/// that one.
fn encode(
    outer: Option<&[u8]>,
    fields: &Bound<'_, PyDict>,
    mut invalid: impl FnMut(&str, &str) -> PyResult<()>,
) -> PyResult<Box<[u8]>> {
    let mut texts: [Option<String>; 6] = Default::default();
    let mut pairs = Vec::new();
    // Collects the items first, because converting a value to text can run code that changes the dict.
    let items: Vec<_> = fields.iter().filter(|(_, value)| !value.is_none()).collect();
    for (name, value) in &items {
        let name = name.extract::<String>()?;
        if let Some(index) = FIELDS.iter().position(|field| *field == name) {
            match text(value) {
                Ok((text, _)) => texts[index] = Some(text.into_owned()).filter(|text| !text.is_empty()),
                Err(_) => invalid(&name, TEXT)?,
            }
        } else if name == "tags" {
            match as_dict(value, "tags") {
                Ok(tags) => tag_pairs(&tags, &mut pairs, &mut invalid)?,
                Err(_) => invalid("tags", "must be a mapping")?,
            }
        } else {
            invalid(&name, "is not an attribution field")?;
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

fn tag_pairs(
    tags: &Bound<'_, PyDict>,
    pairs: &mut Vec<(String, String)>,
    invalid: &mut impl FnMut(&str, &str) -> PyResult<()>,
) -> PyResult<()> {
    let items: Vec<_> = tags.iter().filter(|(_, value)| !value.is_none()).collect();
    for (key, value) in &items {
        match (text(key), text(value)) {
            (Ok((key, _)), Ok((value, _))) => pairs.push((key.into_owned(), value.into_owned())),
            (Ok((key, _)), Err(_)) => invalid(&format!("tags: {key}"), TEXT)?,
            (Err(_), _) => invalid("tags: a key", TEXT)?,
        }
    }
    Ok(())
}
