//! Encodings, for Python.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet, PyString};

use crate::tokens::registered::{self, Registered};
use crate::tokens::{self, Chosen, Token, UnknownName, models};

/// Bytes of a text above which other threads may run while it is counted: what lending them the interpreter takes is a hundredth
/// of what counting so many does.
const RELEASE_ABOVE: usize = 1 << 13;

/// Bytes that a token stands for, roughly.
const BYTES_A_TOKEN: usize = 4;

/// How a text is split into tokens: an embedded encoding by its name, or a tokenizer that was registered.
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

    /// One of many, whose name is made up only if it is needed.
    fn of_many(number: usize, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let name = if value.is_instance_of::<PyString>() { String::new() } else { format!("texts[{number}]") };
        Self::of(&name, value)
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
fn chosen(name: &str, value: Option<&Bound<'_, PyAny>>, default: Chosen) -> PyResult<Chosen> {
    let error = || PyTypeError::new_err(format!("{name} must be 'all' or a set of special tokens"));
    let Some(value) = value else { return Ok(default) };
    if let Ok(text) = value.cast::<PyString>() {
        return if text.to_str()? == "all" { Ok(Chosen::All) } else { Err(error()) };
    }
    let names: PyResult<HashSet<String>> = value.try_iter().map_err(|_| error())?.map(|name| name?.extract()).collect();
    Ok(Chosen::These(names.map_err(|_| error())?))
}

impl PyEncoding {
    fn encoded(&self, text: &str) -> PyResult<Vec<Token>> {
        match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.encode_ordinary(text)),
            Kind::Registered(tokenizer) => Ok(tokenizer.encode_ordinary(text)?),
        }
    }

    fn counted(&self, text: &str) -> PyResult<usize> {
        match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.count(text)),
            Kind::Registered(tokenizer) => Ok(tokenizer.encode_ordinary(text)?.len()),
        }
    }

    fn specials(&self) -> Vec<(&str, Token)> {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.special_tokens().collect(),
            Kind::Registered(tokenizer) => tokenizer.special_tokens().collect(),
        }
    }

    /// A special token in a text that `is_meant` names.
    fn find_special(&self, text: &str, is_meant: impl Fn(&str) -> bool) -> Option<String> {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.find_special(text, is_meant).map(str::to_owned),
            Kind::Registered(tokenizer) => tokenizer.find_special(text, is_meant).map(str::to_owned),
        }
    }
}

#[pymethods]
impl PyEncoding {
    /// The encoding's name, or the prefix of a registered tokenizer.
    #[getter]
    fn name(&self) -> &str {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.name(),
            Kind::Registered(tokenizer) => tokenizer.prefix(),
        }
    }

    /// The tokens of a text, with `tiktoken`'s rules for special ones.
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
        let allowed = chosen("allowed_special", allowed_special, Chosen::These(HashSet::new()))?;
        let disallowed = chosen("disallowed_special", disallowed_special, Chosen::All)?;
        detached(py, text.len(), || {
            disallowed.disallow(text, &allowed, |is_meant| self.find_special(text, is_meant))?;
            match &self.0 {
                Kind::Embedded(encoding) => Ok(encoding.encode(text, |token| allowed.has(token))),
                Kind::Registered(tokenizer) => Ok(tokenizer.encode(text, |token| allowed.has(token))?),
            }
        })
    }

    /// The tokens of a text in which nothing is special.
    fn encode_ordinary(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Vec<Token>> {
        let text = Text::of("text", text)?;
        let text = text.as_str()?;
        detached(py, text.len(), || self.encoded(text))
    }

    /// The number of tokens of a text: what `len(encode_ordinary(text))` is, without making the list.
    fn count(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        let text = Text::of("text", text)?;
        let text = text.as_str()?;
        detached(py, text.len(), || self.counted(text))
    }

    /// As `count` for each of many texts, on as many cores as they are worth.
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
            .map(|(number, text)| Text::of_many(number, &text?))
            .collect::<PyResult<_>>()?;
        let texts: Vec<&str> = texts.iter().map(Text::as_str).collect::<PyResult<_>>()?;
        detached(py, texts.iter().map(|text| text.len()).sum(), || match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.count_batch(&texts)),
            Kind::Registered(_) => tokens::for_each(&texts, |text| self.counted(text)).into_iter().collect(),
        })
    }

    /// The bytes of tokens, which need not be UTF-8; those of a registered tokenizer's text.
    fn decode_bytes<'py>(&self, py: Python<'py>, tokens: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        if tokens.is_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err("tokens must be a sequence of int, not bytes"));
        }
        let unknown = |what: &str| PyKeyError::new_err(format!("{} has no token {what}", self.name()));
        let tokens: Vec<Token> = tokens.extract().map_err(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(py) {
                unknown(&format!("below 0 or above {}", self.max_token_value()))
            } else {
                PyTypeError::new_err("tokens must be a sequence of int")
            }
        })?;
        let decoded = detached(py, tokens.len() * BYTES_A_TOKEN, || match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.decode(&tokens).map_err(|error| error.token)),
            Kind::Registered(tokenizer) => Ok::<_, PyErr>(tokenizer.decode(&tokens)?.map(String::into_bytes)),
        })?;
        Ok(PyBytes::new(py, &decoded.map_err(|token| unknown(&token.to_string()))?))
    }

    /// The text of tokens.
    #[pyo3(signature = (tokens, errors="replace"))]
    fn decode<'py>(&self, py: Python<'py>, tokens: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        self.decode_bytes(py, tokens)?.call_method1("decode", ("utf-8", errors))
    }

    /// The special tokens' texts.
    #[getter]
    fn special_tokens_set<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        PyFrozenSet::new(py, self.specials().into_iter().map(|(text, _)| text))
    }

    /// The token that ends a text, if there is one.
    #[getter]
    fn eot_token(&self) -> Option<Token> {
        tokens::end_of_text(self.specials())
    }

    /// The largest number of a token.
    #[getter]
    fn max_token_value(&self) -> Token {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.largest(),
            Kind::Registered(tokenizer) => tokenizer.largest(),
        }
    }

    /// The largest number of a token, and one.
    #[getter]
    fn n_vocab(&self) -> Token {
        self.max_token_value() + 1
    }

    fn __eq__(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Embedded(one), Kind::Embedded(other)) => one.name() == other.name(),
            (Kind::Registered(one), Kind::Registered(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name().hash(&mut hasher);
        hasher.finish()
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
    // The interpreter is kept for the milliseconds that loading takes: threads that ask at once would load it once each.
    Ok(PyEncoding(Kind::Embedded(tokens::Encoding::named(name.as_str()?)?)))
}

/// The name of the encoding that `OpenAI` says a model has.
#[pyfunction]
pub(super) fn encoding_of(model: &Bound<'_, PyAny>) -> PyResult<Option<&'static str>> {
    Ok(models::encoding_of(Text::of("model", model)?.as_str()?))
}

/// The tokenizer that is registered for a model.
#[pyfunction]
pub(super) fn registered_for(model: &Bound<'_, PyAny>) -> PyResult<Option<PyEncoding>> {
    let found = registered::of_model(Text::of("model", model)?.as_str()?);
    Ok(found.map(|tokenizer| PyEncoding(Kind::Registered(tokenizer))))
}

/// Registers a `tokenizer.json` for the models whose names begin with a prefix.
#[pyfunction]
pub(super) fn register_tokenizer(py: Python<'_>, prefix: &str, path: PathBuf) -> PyResult<()> {
    py.detach(|| registered::register(prefix, &path))?;
    Ok(())
}

/// The exception for a model that is not among `known`.
#[pyfunction]
pub(super) fn unknown_model(model: &Bound<'_, PyAny>, known: Vec<String>) -> PyResult<PyErr> {
    let model = Text::of("model", model)?;
    Ok(UnknownName::model(model.as_str()?, known.iter().map(String::as_str)).into())
}
