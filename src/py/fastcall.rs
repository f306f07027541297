//! `track()` as a function with a fast path, and all unsafe code of the Python bindings.
//!
//! The arguments of a call come as CPython passes them (`METH_FASTCALL | METH_KEYWORDS`, in the stable ABI since 3.10): a tuple of names
//! and an array of values. The tuple of a call site is a constant, so what its names mean is kept under its address, with a strong
//! reference that keeps the address from being reused.
//!
//! There are three paths:
//! - Plain calls, with nothing but exact `str`, `int` and `dict` in the common arguments, are recorded from the borrowed texts
//!   ([`Meter::track_plain`]).
//! - Other calls with known names take the general path ([`super::track::track`]), which accepts everything.
//! - Calls with positional arguments or unknown names go to the method `Meter.track`, which raises the error.
//!
//! [`Meter::track_plain`]: crate::meter::Meter::track_plain

#![expect(unsafe_code, reason = "the calling convention and borrowed values of CPython have no safe interface")]

use std::cell::RefCell;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::arguments::{Arguments, NAMES, PLAIN};
use super::meter::PyMeter;
use super::receipt::PyReceipt;
use super::scope::PyScope;
use super::track::{Host, told};
use crate::event::plain::PlainAttribution;
use crate::event::usage::MAX_COUNT;
use crate::meter::{Charging, Issue, Meter, PlainCall, Prepared, Receipt};

/// How many of those are texts: provider, model and attribution.
const TEXTS: usize = 8;
/// A site whose texts were the same objects in this many calls is expected to repeat them: they are constants.
const REPEATED: u32 = 8;
/// The most tags of a plain call.
const PLAIN_TAGS: usize = 8;
/// Call sites whose names are kept, per thread.
const SITES: usize = 64;

type Object = *mut ffi::PyObject;

/// What the names of a call site mean: for each argument of [`NAMES`], the index of its value plus one; 0 if it is not given.
#[derive(Clone, Copy)]
struct Plan {
    places: [u8; NAMES.len()],
    /// Whether a plain call may have all of them.
    is_plain: bool,
}

/// What is known of a call site. The reference keeps the tuple, and so its address, for as long as the site is kept.
struct Site {
    names: Py<PyAny>,
    plan: Plan,
    /// The addresses of the texts of the last call, which are only compared, and how many calls in a row had them.
    last: [Object; TEXTS],
    repeated: u32,
    memo: Option<Memo>,
}

/// The texts of a site that has repeated them, and what calls with them share. The references keep the addresses.
struct Memo {
    addresses: [Object; TEXTS],
    _texts: [Option<Py<PyAny>>; TEXTS],
    prepared: Prepared,
}

thread_local! {
    static KNOWN: RefCell<[Option<Site>; SITES]> = const { RefCell::new([const { None }; SITES]) };
}
/// Whether threads can run Python code at the same time. A dict can then change while it is read.
static IS_PARALLEL: AtomicBool = AtomicBool::new(false);

#[doc = stub_doc!("track_function")]
#[pyfunction]
pub(super) fn track_function<'py>(meter: &Bound<'py, PyMeter>) -> PyResult<Bound<'py, PyAny>> {
    static DEFINITION: PyOnceLock<Definition> = PyOnceLock::new();
    let py = meter.py();
    let definition = DEFINITION.get_or_try_init(py, || Definition::new(py))?;
    // SAFETY: the definition and its texts live as long as the process, the function has the signature that the flags state, and the
    // meter is a valid object, to which the new function holds a reference.
    unsafe {
        let made = ffi::PyCFunction_NewEx(definition.0.as_ptr(), meter.as_ptr(), null_mut());
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// The definition of the function, with the docstring and the signature of the method. It is never freed.
struct Definition(NonNull<ffi::PyMethodDef>);

// SAFETY: the definition is not changed after it was made.
unsafe impl Send for Definition {}
// SAFETY: the same.
unsafe impl Sync for Definition {}

impl Definition {
    fn new(py: Python<'_>) -> PyResult<Self> {
        // `sys._is_gil_enabled` is new in Python 3.13. A process never disables the GIL later.
        let is_gil_enabled = py.import("sys")?.getattr("_is_gil_enabled").and_then(|asked| asked.call0()?.is_truthy());
        IS_PARALLEL.store(!is_gil_enabled.unwrap_or(true), Ordering::Relaxed);
        let method = py.get_type::<PyMeter>().getattr("track")?;
        let text = |name: &str| method.getattr(name)?.extract::<String>();
        let doc = CString::new(format!("track{}\n--\n\n{}", text("__text_signature__")?, text("__doc__")?))
            .map_err(|_| PyValueError::new_err("the docstring has a NUL"))?;
        let definition = Box::new(ffi::PyMethodDef {
            ml_name: c"track".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: track },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: doc.into_raw(),
        });
        Ok(Self(NonNull::from(Box::leak(definition))))
    }
}

/// The entry from CPython. A panic would abort the process, so it becomes a refusal, as in the general path.
unsafe extern "C" fn track(meter: Object, values: *const Object, positional: ffi::Py_ssize_t, names: Object) -> Object {
    // SAFETY: CPython calls this while the thread is attached, and the arguments live until it returns.
    let recorded = catch_unwind(AssertUnwindSafe(|| unsafe { Call { meter, values, positional, names }.record() }));
    recorded.unwrap_or_else(|_| {
        // SAFETY: the thread is attached.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: the meter lives until the call returns, and is the one that `track_function` gave the function.
        let meter = unsafe { Borrowed::from_ptr(py, meter).cast_unchecked::<PyMeter>() };
        refused(py, &meter)
    })
}

#[cold]
fn refused(py: Python<'_>, meter: &Bound<'_, PyMeter>) -> Object {
    given(py, super::track::refuse_after_panic(&meter.get().core, meter.get(), py))
}

/// A new reference to a receipt; null with an exception if there is no memory.
#[inline]
fn given(py: Python<'_>, receipt: PyReceipt) -> Object {
    Py::new(py, receipt).map_or_else(
        |error| {
            error.restore(py);
            null_mut()
        },
        Py::into_ptr,
    )
}

/// One call, as CPython passes it.
struct Call {
    meter: Object,
    values: *const Object,
    positional: ffi::Py_ssize_t,
    names: Object,
}

impl Call {
    /// # Safety
    /// The thread is attached, and the fields are the arguments of a call of [`track`] that has not returned.
    #[inline]
    unsafe fn record(&self) -> Object {
        // SAFETY: the thread is attached.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: `track_function` creates the function with a `PyMeter`, which lives until the call returns.
        let meter = unsafe { Borrowed::from_ptr(py, self.meter).cast_unchecked::<PyMeter>() };
        // SAFETY: passed on.
        if let Some(receipt) = unsafe { self.at_known_site(py, &meter) } {
            return given(py, receipt);
        }
        // SAFETY: passed on.
        unsafe { self.unusual(py, &meter) }
    }

    /// Records a plain call at a known site; `None` if it is not one.
    ///
    /// # Safety
    /// As for [`Call::record`].
    #[inline]
    unsafe fn at_known_site(&self, py: Python<'_>, meter: &Bound<'_, PyMeter>) -> Option<PyReceipt> {
        let host = meter.get();
        if self.positional != 0 || !host.is_ready() {
            return None;
        }
        let scope = host.current_scope(py);
        let scope = PyScope::plain(scope.as_ref())?;
        let recorded = KNOWN.try_with(|known| {
            let mut known = known.try_borrow_mut().ok()?;
            let site = known[Self::place(self.names)].as_mut()?;
            if site.names.as_ptr() != self.names || !site.plan.is_plain {
                return None;
            }
            // SAFETY: passed on.
            let values = unsafe { self.by_slot(&site.plan) };
            // SAFETY: values of this call.
            unsafe { site.record(py, &host.core, &values, scope) }
        });
        Some(PyReceipt(told(host, py, recorded.ok()??)))
    }

    /// Records a call that is not plain, or not yet known to be.
    ///
    /// # Safety
    /// As for [`Call::record`].
    #[cold]
    unsafe fn unusual(&self, py: Python<'_>, meter: &Bound<'_, PyMeter>) -> Object {
        // SAFETY: passed on.
        let Some(plan) = self.plan().or_else(|| unsafe { self.make_plan(py) }) else {
            // SAFETY: passed on.
            return unsafe { self.by_method(py, meter) };
        };
        if plan.is_plain && meter.get().is_ready() {
            // SAFETY: passed on.
            if let Some(receipt) = unsafe { plain(py, meter, &self.by_slot(&plan)) } {
                return given(py, receipt);
            }
        }
        // SAFETY: passed on.
        unsafe { self.general(&plan) }
    }

    /// The plan of this call site, if it is known.
    #[inline]
    fn plan(&self) -> Option<Plan> {
        if self.positional != 0 {
            return None;
        }
        KNOWN
            .try_with(|known| {
                let known = known.try_borrow().ok()?;
                let site = known[Self::place(self.names)].as_ref()?;
                (site.names.as_ptr() == self.names).then_some(site.plan)
            })
            .ok()?
    }

    /// Where the plan of a call site is kept. Objects begin at multiples of 16 bytes.
    fn place(names: Object) -> usize {
        (names as usize >> 4) % SITES
    }

    /// Makes the plan of this call site; `None` if the call is invalid.
    ///
    /// # Safety
    /// As for [`Call::record`].
    #[cold]
    unsafe fn make_plan(&self, py: Python<'_>) -> Option<Plan> {
        static INTERNED: PyOnceLock<Vec<Py<PyString>>> = PyOnceLock::new();
        let mut plan = Plan { places: [0; NAMES.len()], is_plain: true };
        if self.positional != 0 {
            return None;
        }
        // SAFETY: CPython passes null or a tuple, which lives until the call returns.
        let Some(names) = (unsafe { Borrowed::from_ptr_or_opt(py, self.names) }) else { return Some(plan) };
        let interned =
            INTERNED.get_or_init(py, || NAMES.iter().map(|name| PyString::intern(py, name).unbind()).collect());
        let mut are_interned = true;
        for (index, name) in names.cast::<PyTuple>().ok()?.iter_borrowed().enumerate() {
            let known = interned.iter().position(|known| known.as_ptr() == name.as_ptr());
            are_interned &= known.is_some();
            let slot = if let Some(slot) = known {
                slot
            } else {
                let name = name.cast::<PyString>().ok()?;
                let text = name.to_str().ok()?;
                NAMES.iter().position(|known| *known == text)?
            };
            plan.places[slot] = u8::try_from(index + 1).ok()?;
            plan.is_plain &= slot < PLAIN;
        }
        if are_interned {
            // Such a tuple holds exact `str` only, so that no Python code runs when it is dropped.
            let (last, names) = ([null_mut(); TEXTS], (*names).clone().unbind());
            let site = Site { names, plan, last, repeated: 0, memo: None };
            let replaced = KNOWN.try_with(|known| known.try_borrow_mut().ok()?[Self::place(self.names)].replace(site));
            drop(replaced);
        }
        Some(plan)
    }

    /// The values by argument; null for those that were not given.
    ///
    /// # Safety
    /// As for [`Call::record`], and the plan is that of this call.
    #[inline]
    unsafe fn by_slot<const N: usize>(&self, plan: &Plan) -> [Object; N] {
        let mut all = [null_mut(); N];
        for (value, place) in all.iter_mut().zip(&plan.places) {
            if *place != 0 {
                // SAFETY: there is a value for each name.
                *value = unsafe { *self.values.add(usize::from(*place) - 1) };
            }
        }
        all
    }

    /// Records any call with known names.
    ///
    /// # Safety
    /// As for [`Call::by_slot`].
    #[cold]
    unsafe fn general(&self, plan: &Plan) -> Object {
        // SAFETY: passed on.
        let all: [Object; NAMES.len()] = unsafe { self.by_slot(plan) };
        // Makes pyo3 know that the thread is attached, so that it releases objects at once.
        Python::attach(|py| {
            // SAFETY: values of this call live until it returns.
            let all = all.map(|value| unsafe { Borrowed::from_ptr_or_opt(py, value) });
            let arguments = Arguments::from_slots(&all.each_ref().map(Option::as_deref));
            // SAFETY: as in `record`.
            let meter = unsafe { Borrowed::from_ptr(py, self.meter).cast_unchecked::<PyMeter>() };
            given(py, meter.get().track_arguments(py, &arguments, Charging::default()))
        })
    }

    /// Passes the call to the method.
    ///
    /// # Safety
    /// As for [`Call::record`].
    #[cold]
    unsafe fn by_method(&self, py: Python<'_>, meter: &Bound<'_, PyMeter>) -> Object {
        // SAFETY: the values of this call, the positional ones first, live until it returns.
        let value = |index: usize| unsafe { Borrowed::from_ptr(py, *self.values.add(index)).to_owned() };
        let called = || {
            let positional = self.positional as usize;
            let arguments = PyTuple::new(py, (0..positional).map(value))?;
            let keywords = PyDict::new(py);
            // SAFETY: CPython passes null or a tuple.
            if let Some(names) = unsafe { Borrowed::from_ptr_or_opt(py, self.names) } {
                for (index, name) in names.cast::<PyTuple>()?.iter_borrowed().enumerate() {
                    keywords.set_item(name, value(positional + index))?;
                }
            }
            meter.as_any().getattr("track")?.call(arguments, Some(&keywords))
        };
        match called() {
            Ok(receipt) => receipt.into_ptr(),
            Err(error) => {
                error.restore(py);
                null_mut()
            }
        }
    }
}

impl Site {
    /// Records a plain call at this site; `None` if it is not one. No Python code runs meanwhile.
    ///
    /// # Safety
    /// The thread is attached. The values are null, or live until the call returns.
    #[inline]
    unsafe fn record(
        &mut self,
        py: Python<'_>,
        meter: &Meter,
        values: &[Object; PLAIN],
        scope: &[u8],
    ) -> Option<Result<Receipt, Issue>> {
        let [provider, model, input, output, tags, agent, feature, team, customer, user, session] = *values;
        let addresses = [provider, model, agent, feature, team, customer, user, session];
        if let Some(memo) = &self.memo
            && memo.addresses == addresses
        {
            let mut pairs = [("", ""); PLAIN_TAGS];
            // SAFETY: values of this call.
            let (count, counts) = unsafe { (read_tags(tags, &mut pairs)?, [count(input)?, count(output)?]) };
            if let Some(recorded) = meter.track_prepared(&memo.prepared, counts, &pairs[..count], scope) {
                return Some(recorded);
            }
        }
        let mut pairs = [("", ""); PLAIN_TAGS];
        // SAFETY: values of this call.
        let call = unsafe { read(values, &mut pairs)? };
        let recorded = meter.track_plain(&call, scope)?;
        self.repeated = if self.last == addresses { self.repeated.saturating_add(1) } else { 0 };
        self.last = addresses;
        if self.repeated >= REPEATED {
            // SAFETY: texts of this call, or null.
            unsafe { self.remember(py, meter, &call, addresses) };
        }
        Some(recorded)
    }

    /// Prepares calls with the same texts.
    ///
    /// # Safety
    /// As for [`Site::record`], and the addresses are those of the texts of the call.
    #[cold]
    unsafe fn remember(&mut self, _: Python<'_>, meter: &Meter, call: &PlainCall<'_>, addresses: [Object; TEXTS]) {
        let Some(prepared) = meter.prepare(call) else { return };
        // Makes pyo3 know that the thread is attached, so that it releases the old texts at once. These are exact `str`, so no Python
        // code runs.
        Python::attach(|py| {
            // SAFETY: passed on.
            let texts = addresses.map(|text| Some(unsafe { Borrowed::from_ptr_or_opt(py, text) }?.to_owned().unbind()));
            self.memo = Some(Memo { addresses, _texts: texts, prepared });
        });
    }
}

/// Records a plain call; `None` if it is not one.
///
/// # Safety
/// The thread is attached. The values are null, or live until the call returns.
unsafe fn plain(py: Python<'_>, meter: &Bound<'_, PyMeter>, values: &[Object; PLAIN]) -> Option<PyReceipt> {
    let mut pairs = [("", ""); PLAIN_TAGS];
    // SAFETY: passed on.
    let call = unsafe { read(values, &mut pairs)? };
    let host = meter.get();
    let scope = host.current_scope(py);
    Some(PyReceipt(told(host, py, host.core.track_plain(&call, PyScope::plain(scope.as_ref())?)?)))
}

/// Reads the arguments of a plain call; `None` if it is not one. The texts of its tags go to `pairs`.
///
/// # Safety
/// The thread is attached. The values are null, or live longer than `'a`.
#[inline]
unsafe fn read<'a>(values: &[Object; PLAIN], pairs: &'a mut [(&'a str, &'a str); PLAIN_TAGS]) -> Option<PlainCall<'a>> {
    let [provider, model, input, output, tags, attribution @ ..] = *values;
    let mut fields = [None; 6];
    for (field, value) in fields.iter_mut().zip(attribution) {
        if is_given(value) {
            // SAFETY: a value of this call, which is not null.
            *field = Some(unsafe { text(value) }?);
        }
    }
    // SAFETY: values of this call, which `is_given` has checked for null.
    unsafe {
        let count_of_tags = read_tags(tags, pairs)?;
        Some(PlainCall {
            provider: if is_given(provider) { text(provider)? } else { return None },
            model: if is_given(model) { text(model)? } else { return None },
            input_tokens: count(input)?,
            output_tokens: count(output)?,
            attribution: PlainAttribution { fields, tags: &pairs[..count_of_tags] },
        })
    }
}

/// Whether an argument has a value other than `None`.
#[inline]
fn is_given(value: Object) -> bool {
    // SAFETY: this only takes the address of the object, which lives as long as the interpreter.
    !value.is_null() && value != unsafe { ffi::Py_None() }
}

/// The text of an exact `str`; `None` for other types, and for texts with lone surrogates.
///
/// # Safety
/// The thread is attached, and the object lives longer than `'a`.
#[inline]
unsafe fn text<'a>(value: Object) -> Option<&'a str> {
    let mut size = 0;
    // SAFETY: the object is valid; the buffer belongs to it, is as long as the size says, and is UTF-8.
    unsafe {
        if ffi::Py_TYPE(value) != &raw mut ffi::PyUnicode_Type {
            return None;
        }
        let data = ffi::PyUnicode_AsUTF8AndSize(value, &raw mut size);
        if data.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(std::str::from_utf8_unchecked(std::slice::from_raw_parts(data.cast(), size as usize)))
    }
}

/// A count from an exact `int`, which may be absent; `None` for other types and for invalid counts.
///
/// # Safety
/// The thread is attached, and the object is valid or null.
#[inline]
#[expect(clippy::option_option, reason = "the outer one says whether the call is plain")]
unsafe fn count(value: Object) -> Option<Option<u64>> {
    if !is_given(value) {
        return Some(None);
    }
    // SAFETY: the object is valid.
    unsafe {
        if ffi::Py_TYPE(value) != &raw mut ffi::PyLong_Type {
            return None;
        }
        let number = ffi::PyLong_AsUnsignedLongLong(value);
        if number > MAX_COUNT {
            // Too large, or an exception because it is negative or does not fit.
            ffi::PyErr_Clear();
            return None;
        }
        Some(Some(number))
    }
}

/// Reads the tags of an exact `dict` with few items, all of them texts or `None`. Returns how many: 0 without a dict, `None` for others.
///
/// # Safety
/// The thread is attached. The dict is null, or lives longer than `'a`. No Python code runs meanwhile, so that it does not change.
#[inline]
unsafe fn read_tags<'a>(tags: Object, pairs: &mut [(&'a str, &'a str); PLAIN_TAGS]) -> Option<usize> {
    if !is_given(tags) {
        return Some(0);
    }
    let (mut position, mut key, mut value) = (0, null_mut(), null_mut());
    let mut count = 0;
    // SAFETY: the object is a dict. Its keys and values are borrowed, and live while it does not change.
    unsafe {
        if ffi::Py_TYPE(tags) != &raw mut ffi::PyDict_Type || IS_PARALLEL.load(Ordering::Relaxed) {
            return None;
        }
        while ffi::PyDict_Next(tags, &raw mut position, &raw mut key, &raw mut value) != 0 {
            if value != ffi::Py_None() {
                *pairs.get_mut(count)? = (text(key)?, text(value)?);
                count += 1;
            }
        }
    }
    Some(count)
}
