//! The only place that maps errors of the core to Python exceptions.

use pyo3::exceptions::PyValueError;
use pyo3::{PyErr, import_exception};

use crate::http::AddressError;
use crate::ledger::LedgerError as CoreLedgerError;
use crate::pricing::{CatalogError as CoreCatalogError, OverrideError, PriceError};
use crate::protocol::{LimitError, OptionError};
use crate::tokens::registered::{EncodeError, RegisterError};
use crate::tokens::{Disallowed, UnknownName};

import_exception!(taximeter.errors, CatalogError);
import_exception!(taximeter.errors, ConfigError);
import_exception!(taximeter.errors, DeliveryError);
import_exception!(taximeter.errors, TransferError);
import_exception!(taximeter.errors, UsageError);
import_exception!(taximeter.errors, LedgerError);
import_exception!(taximeter.errors, LedgerTimeoutError);
import_exception!(taximeter.errors, UnknownNameError);

impl From<PriceError> for PyErr {
    fn from(error: PriceError) -> Self {
        UsageError::new_err(error.to_string())
    }
}

impl From<CoreLedgerError> for PyErr {
    fn from(error: CoreLedgerError) -> Self {
        match error {
            CoreLedgerError::Query(message) => PyValueError::new_err(message),
            CoreLedgerError::TimedOut => LedgerTimeoutError::new_err(error.to_string()),
            other => LedgerError::new_err(other.to_string()),
        }
    }
}

impl From<OverrideError> for PyErr {
    fn from(error: OverrideError) -> Self {
        ConfigError::new_err(error.to_string())
    }
}

impl From<AddressError> for PyErr {
    fn from(error: AddressError) -> Self {
        ConfigError::new_err(format!("destination: {error}"))
    }
}

impl From<LimitError> for PyErr {
    fn from(error: LimitError) -> Self {
        ConfigError::new_err(format!("destination: {error}"))
    }
}

impl From<OptionError> for PyErr {
    fn from(error: OptionError) -> Self {
        ConfigError::new_err(format!("destination: {error}"))
    }
}

impl From<CoreCatalogError> for PyErr {
    fn from(error: CoreCatalogError) -> Self {
        CatalogError::new_err(error.to_string())
    }
}

impl From<RegisterError> for PyErr {
    fn from(error: RegisterError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<Disallowed> for PyErr {
    fn from(error: Disallowed) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<EncodeError> for PyErr {
    fn from(error: EncodeError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<UnknownName> for PyErr {
    fn from(error: UnknownName) -> Self {
        UnknownNameError::new_err(error.to_string())
    }
}
