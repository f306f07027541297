//! Encodings, for Python.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet, PyString};

use super::errors::UnknownNameError;
use crate::tokens::registered::{self, Registered};
use crate::tokens::{self, Token, models};

/// Bytes of a text above which other threads may run while it is counted: what lending them the interpreter takes is a hundredth
/// of what counting so many does.
const RELEASE_ABOVE: usize = 1 << 13;

/// An encoding, embedded or registered.
#[pyclass(frozen, name = "Encoding", module = "taximeter._core")]
pub(super) struct PyEncoding(Kind);

enum Kind {
    Embedded(Arc<tokens::Encoding>),
    Registered(Arc<Registered>),
}

/// A text as it is encoded. Halves of surrogate pairs that stand alone become U+FFFD, and two that make a pair the character they
/// mean, as `tiktoken` has it (`tiktoken/core.py`, `encode`).
struct Text<'py>(Bound<'py, PyString>);

impl<'py> Text<'py> {
    fn of(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let Ok(text) = value.cast::<PyString>() else {
            return Err(PyTypeError::new_err(format!("{name} must be a str, not {}", value.get_type().name()?)));
        };
        if text.to_str().is_ok() {
            return Ok(Self(text.clone()));
        }
        let units = text.call_method1("encode", ("utf-16", "surrogatepass"))?;
        Ok(Self(units.call_method1("decode", ("utf-16", "replace"))?.cast_into()?))
    }

    fn as_str(&self) -> PyResult<&str> {
        self.0.to_str()
    }
}

/// Does it, and lets other threads run meanwhile if that takes some time.
fn detached<T: Send>(py: Python<'_>, bytes: usize, work: impl Send + FnOnce() -> T) -> T {
    if bytes > RELEASE_ABOVE { py.detach(work) } else { work() }
}

/// Which special tokens an argument names: all, or those in a collection.
enum Chosen {
    All,
    These(Vec<String>),
}

impl Chosen {
    fn of(name: &str, value: Option<&Bound<'_, PyAny>>, default: Self) -> PyResult<Self> {
        let Some(value) = value else { return Ok(default) };
        if let Ok(text) = value.cast::<PyString>() {
            return if text.to_str()? == "all" { Ok(Self::All) } else { Err(Self::error(name)) };
        }
        let names: PyResult<Vec<String>> =
            value.try_iter().map_err(|_| Self::error(name))?.map(|name| name?.extract()).collect();
        Ok(Self::These(names.map_err(|_| Self::error(name))?))
    }

    fn error(name: &str) -> PyErr {
        PyTypeError::new_err(format!("{name} must be 'all' or a set of special tokens"))
    }

    fn has(&self, token: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| name == token),
        }
    }
}

impl PyEncoding {
    fn encoded(&self, text: &str) -> PyResult<Vec<Token>> {
        match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.encode_ordinary(text)),
            Kind::Registered(tokenizer) => Ok(tokenizer.encode(text)?),
        }
    }

    fn counted(&self, text: &str) -> PyResult<usize> {
        match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.count(text)),
            Kind::Registered(tokenizer) => Ok(tokenizer.encode(text)?.len()),
        }
    }

    fn specials(&self) -> Vec<(&str, Token)> {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.special_tokens().collect(),
            Kind::Registered(_) => Vec::new(),
        }
    }
}

#[pymethods]
impl PyEncoding {
    #[getter]
    fn name(&self) -> &str {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.name(),
            Kind::Registered(tokenizer) => tokenizer.prefix(),
        }
    }

    #[pyo3(signature = (text, *, allowed_special=None, disallowed_special=None))]
    fn encode(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        allowed_special: Option<&Bound<'_, PyAny>>,
        disallowed_special: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Token>> {
        let text = Text::of("text", text)?;
        let text = text.as_str()?;
        let allowed = Chosen::of("allowed_special", allowed_special, Chosen::These(Vec::new()))?;
        let disallowed = Chosen::of("disallowed_special", disallowed_special, Chosen::All)?;
        let Kind::Embedded(encoding) = &self.0 else { return detached(py, text.len(), || self.encoded(text)) };
        detached(py, text.len(), || {
            // "all" disallowed means all that are not allowed; those that are named are disallowed in any case.
            let is_disallowed = |token: &str| match &disallowed {
                Chosen::All => !allowed.has(token),
                these @ Chosen::These(_) => these.has(token),
            };
            match encoding.find_special(text, is_disallowed) {
                None => Ok(encoding.encode(text, |token| allowed.has(token))),
                Some(token) => Err(PyValueError::new_err(format!(
                    "text has the special token {token:?}, which is disallowed: to encode it as that token, put it into \
                     allowed_special; to encode it as text, pass disallowed_special=()"
                ))),
            }
        })
    }

    fn encode_ordinary(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Vec<Token>> {
        let text = Text::of("text", text)?;
        let text = text.as_str()?;
        detached(py, text.len(), || self.encoded(text))
    }

    fn count(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        let text = Text::of("text", text)?;
        let text = text.as_str()?;
        detached(py, text.len(), || self.counted(text))
    }

    fn count_batch(&self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
        if texts.is_instance_of::<PyString>() || texts.is_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err(format!(
                "texts must be a sequence of str, not {}",
                texts.get_type().name()?
            )));
        }
        let not_texts = |_| PyTypeError::new_err("texts must be a sequence of str");
        let texts: Vec<_> = texts
            .try_iter()
            .map_err(not_texts)?
            .enumerate()
            .map(|(n, text)| Text::of(&format!("texts[{n}]"), &text?))
            .collect::<PyResult<_>>()?;
        let texts: Vec<&str> = texts.iter().map(Text::as_str).collect::<PyResult<_>>()?;
        detached(py, texts.iter().map(|text| text.len()).sum(), || match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.count_batch(&texts)),
            Kind::Registered(_) => texts.iter().map(|text| self.counted(text)).collect(),
        })
    }

    fn decode_bytes<'py>(&self, py: Python<'py>, tokens: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let tokens: Vec<Token> = tokens.extract().map_err(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(py) {
                PyKeyError::new_err(format!(
                    "{} has no token but those from 0 to {}",
                    self.name(),
                    self.max_token_value()
                ))
            } else {
                PyTypeError::new_err("tokens must be a sequence of int")
            }
        })?;
        match &self.0 {
            Kind::Embedded(encoding) => match encoding.decode(&tokens) {
                Ok(bytes) => Ok(PyBytes::new(py, &bytes)),
                Err(error) => Err(PyKeyError::new_err(error.to_string())),
            },
            Kind::Registered(tokenizer) => Ok(PyBytes::new(py, tokenizer.decode(&tokens)?.as_bytes())),
        }
    }

    #[pyo3(signature = (tokens, errors="replace"))]
    fn decode<'py>(&self, py: Python<'py>, tokens: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        self.decode_bytes(py, tokens)?.call_method1("decode", ("utf-8", errors))
    }

    #[getter]
    fn special_tokens_set<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        PyFrozenSet::new(py, self.specials().into_iter().map(|(text, _)| text))
    }

    #[getter]
    fn eot_token(&self) -> Option<Token> {
        self.specials().into_iter().find(|(text, _)| *text == "<|endoftext|>").map(|(_, token)| token)
    }

    #[getter]
    fn max_token_value(&self) -> Token {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.largest(),
            Kind::Registered(tokenizer) => tokenizer.largest(),
        }
    }

    #[getter]
    fn n_vocab(&self) -> Token {
        self.max_token_value() + 1
    }

    fn __repr__(&self) -> String {
        format!("<Encoding '{}'>", self.name())
    }

    /// Embedded ones are pickled by name. A registered one is not, for another process need not have it.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        if matches!(self.0, Kind::Registered(_)) {
            return Err(PyTypeError::new_err(
                "a registered tokenizer cannot be pickled: register it in the other process",
            ));
        }
        Ok((py.import("taximeter._core")?.getattr("encoding")?, (self.name().to_owned(),)))
    }
}

/// The embedded encoding of a name.
#[pyfunction]
pub(super) fn encoding(name: &Bound<'_, PyAny>) -> PyResult<PyEncoding> {
    let name = Text::of("name", name)?;
    let name = name.as_str()?;
    match tokens::Encoding::named(name) {
        // Loading keeps the interpreter: nothing forks meanwhile that could be left without it.
        Ok(encoding) => Ok(PyEncoding(Kind::Embedded(encoding))),
        Err(_) => Err(unknown("encoding", name, &models::nearest_encodings(name))),
    }
}

/// The names of the embedded encodings.
#[pyfunction]
pub(super) fn encoding_names() -> Vec<&'static str> {
    tokens::names().collect()
}

/// The name of the encoding that `OpenAI` says a model has.
#[pyfunction]
pub(super) fn encoding_of(model: &str) -> Option<&'static str> {
    models::encoding_of(model)
}

/// The tokenizer that is registered for a model.
#[pyfunction]
pub(super) fn registered_for(model: &str) -> Option<PyEncoding> {
    registered::of_model(model).map(|tokenizer| PyEncoding(Kind::Registered(tokenizer)))
}

/// Registers a `tokenizer.json` for the models whose names begin with a prefix.
#[pyfunction]
pub(super) fn register_tokenizer(py: Python<'_>, prefix: &str, path: PathBuf) -> PyResult<()> {
    py.detach(|| registered::register(prefix, &path))?;
    Ok(())
}

/// The exception for a model that is not among `known`.
#[pyfunction]
pub(super) fn unknown_model(model: &str, known: Vec<String>) -> PyErr {
    unknown("model", model, &models::nearest(model, known.iter().map(String::as_str)))
}

fn unknown(kind: &str, name: &str, nearest: &[&str]) -> PyErr {
    let nearest = match nearest {
        [] => "no name is near it".to_owned(),
        names => format!("the nearest names are {}", names.join(", ")),
    };
    UnknownNameError::new_err(format!("unknown {kind} {name:?}; {nearest}"))
}
