//! The Python binding of encodings.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet, PyString};

use crate::tokens::registered::{self, Registered};
use crate::tokens::{self, Chosen, Token, UnknownName, models};

/// Texts longer than this are counted without the GIL. Counting this many bytes takes a hundred times as long as releasing and
/// reacquiring the GIL.
const DETACH_ABOVE: usize = 1 << 13;

/// The approximate number of bytes per token.
const BYTES_PER_TOKEN: usize = 4;

#[doc = stub_doc!("Encoding")]
#[pyclass(frozen, name = "Encoding", module = "taximeter._core")]
pub(super) struct PyEncoding(Kind);

enum Kind {
    Embedded(Arc<tokens::Encoding>),
    Registered(Arc<Registered>),
}

/// A text that can be encoded. As in `tiktoken` (`tiktoken/core.py`, `encode`), lone surrogates become U+FFFD, and two surrogates that
/// form a pair become the character they encode.
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

    /// One of many texts. Its name, for the error message, is built only if it is needed.
    fn of_many(number: usize, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let name = if value.is_instance_of::<PyString>() { String::new() } else { format!("texts[{number}]") };
        Self::of(&name, value)
    }

    fn as_str(&self) -> PyResult<&str> {
        self.0.to_str()
    }
}

/// Runs `work`, without the GIL if it takes long enough.
fn detached<T: Send>(py: Python<'_>, bytes: usize, work: impl Send + FnOnce() -> T) -> T {
    if bytes > DETACH_ABOVE { py.detach(work) } else { work() }
}

/// The special tokens that an argument names: all, or those in a collection.
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

    /// A special token that occurs in the text and for which `is_meant` returns true.
    fn find_special(&self, text: &str, is_meant: impl Fn(&str) -> bool) -> Option<String> {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.find_special(text, is_meant).map(str::to_owned),
            Kind::Registered(tokenizer) => tokenizer.find_special(text, is_meant).map(str::to_owned),
        }
    }
}

#[pymethods]
impl PyEncoding {
    #[doc = stub_doc!("Encoding.name")]
    #[getter]
    fn name(&self) -> &str {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.name(),
            Kind::Registered(tokenizer) => tokenizer.prefix(),
        }
    }

    #[doc = stub_doc!("Encoding.encode")]
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

    #[doc = stub_doc!("Encoding.encode_ordinary")]
    fn encode_ordinary(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Vec<Token>> {
        let text = Text::of("text", text)?;
        let text = text.as_str()?;
        detached(py, text.len(), || self.encoded(text))
    }

    #[doc = stub_doc!("Encoding.count")]
    fn count(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        let text = Text::of("text", text)?;
        let text = text.as_str()?;
        detached(py, text.len(), || self.counted(text))
    }

    #[doc = stub_doc!("Encoding.count_batch")]
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

    #[doc = stub_doc!("Encoding.decode_bytes")]
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
        let decoded = detached(py, tokens.len() * BYTES_PER_TOKEN, || match &self.0 {
            Kind::Embedded(encoding) => Ok(encoding.decode(&tokens).map_err(|error| error.token)),
            Kind::Registered(tokenizer) => Ok::<_, PyErr>(tokenizer.decode(&tokens)?.map(String::into_bytes)),
        })?;
        Ok(PyBytes::new(py, &decoded.map_err(|token| unknown(&token.to_string()))?))
    }

    #[doc = stub_doc!("Encoding.decode")]
    #[pyo3(signature = (tokens, errors="replace"))]
    fn decode<'py>(&self, py: Python<'py>, tokens: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        self.decode_bytes(py, tokens)?.call_method1("decode", ("utf-8", errors))
    }

    #[doc = stub_doc!("Encoding.special_tokens_set")]
    #[getter]
    fn special_tokens_set<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        PyFrozenSet::new(py, self.specials().into_iter().map(|(text, _)| text))
    }

    #[doc = stub_doc!("Encoding.eot_token")]
    #[getter]
    fn eot_token(&self) -> Option<Token> {
        tokens::end_of_text(self.specials())
    }

    #[doc = stub_doc!("Encoding.max_token_value")]
    #[getter]
    fn max_token_value(&self) -> Token {
        match &self.0 {
            Kind::Embedded(encoding) => encoding.largest(),
            Kind::Registered(tokenizer) => tokenizer.largest(),
        }
    }

    #[doc = stub_doc!("Encoding.n_vocab")]
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

    /// Embedded encodings are pickled by name. Registered ones cannot be pickled, because another process may not have registered them.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        if matches!(self.0, Kind::Registered(_)) {
            return Err(PyTypeError::new_err(
                "a registered tokenizer cannot be pickled: register it in the other process",
            ));
        }
        Ok((py.import("taximeter._core")?.getattr("encoding")?, (self.name().to_owned(),)))
    }
}

#[doc = stub_doc!("encoding")]
#[pyfunction]
pub(super) fn encoding(name: &Bound<'_, PyAny>) -> PyResult<PyEncoding> {
    let name = Text::of("name", name)?;
    // The GIL is held for the milliseconds that loading takes. Without it, concurrent callers would each load the encoding.
    Ok(PyEncoding(Kind::Embedded(tokens::Encoding::named(name.as_str()?)?)))
}

#[doc = stub_doc!("encoding_of")]
#[pyfunction]
pub(super) fn encoding_of(model: &Bound<'_, PyAny>) -> PyResult<Option<&'static str>> {
    Ok(models::encoding_of(Text::of("model", model)?.as_str()?))
}

#[doc = stub_doc!("registered_for")]
#[pyfunction]
pub(super) fn registered_for(model: &Bound<'_, PyAny>) -> PyResult<Option<PyEncoding>> {
    let found = registered::of_model(Text::of("model", model)?.as_str()?);
    Ok(found.map(|tokenizer| PyEncoding(Kind::Registered(tokenizer))))
}

#[doc = stub_doc!("register_tokenizer")]
#[pyfunction]
pub(super) fn register_tokenizer(py: Python<'_>, prefix: &str, path: PathBuf) -> PyResult<()> {
    py.detach(|| registered::register(prefix, &path))?;
    Ok(())
}

#[doc = stub_doc!("unknown_model")]
#[pyfunction]
pub(super) fn unknown_model(model: &Bound<'_, PyAny>, known: Vec<String>) -> PyResult<PyErr> {
    let model = Text::of("model", model)?;
    Ok(UnknownName::model(model.as_str()?, known.iter().map(String::as_str)).into())
}
