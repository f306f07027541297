//! Exact US dollars, as integers of 10⁻²⁴ USD.
//!
//! A catalog rate has up to 18 decimals per million tokens, so the cost of one token can be any multiple of 10⁻²⁴ USD. Amounts are
//! added and multiplied as `i128`, which holds ±1.7×10¹⁴ USD, and are never rounded. They become text, and then a Python
//! `Decimal`, only in the results.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

/// Decimal places of an amount.
pub const SCALE: u32 = 24;

/// An exact amount of US dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Debug)]
pub struct Usd(i128);

/// Why a text is not a valid amount.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum AmountError {
    /// Not of the form `[-]digits[.digits]`.
    #[error("{0:?} is not a decimal number")]
    Syntax(String),
    /// More decimals than the scale holds.
    #[error("{0:?} has more than {1} decimals")]
    TooPrecise(String, u32),
    /// Beyond ±1.7×10¹⁴.
    #[error("{0:?} is too large for an amount")]
    TooLarge(String),
}

impl Usd {
    /// Zero dollars.
    pub const ZERO: Self = Self(0);

    /// From an integer of 10⁻²⁴ USD.
    #[must_use]
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// As an integer of 10⁻²⁴ USD.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// The sum, or `None` if it is out of range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl Add for Usd {
    type Output = Self;
    /// Saturates at the ends of the range. No sum of real costs reaches them.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    /// Writes the shortest exact decimal: no exponent, no trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10_u128.pow(SCALE);
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (magnitude / one, magnitude % one);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:024}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Usd {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        parse_scaled(text, SCALE).map(Self)
    }
}

/// Reads a plain decimal as an integer of 10^-`scale`.
///
/// # Errors
/// If the text is not a plain decimal, has non-zero digits after `scale` decimals, or is too large.
pub fn parse_scaled(text: &str, scale: u32) -> Result<i128, AmountError> {
    let syntax = || AmountError::Syntax(text.to_owned());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
        return Err(syntax());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > scale as usize {
        return Err(AmountError::TooPrecise(text.to_owned(), scale));
    }
    let mut units: i128 = 0;
    let padding = scale as usize - fraction.len();
    for digit in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', padding)) {
        units = units
            .checked_mul(10)
            .and_then(|units| units.checked_add(i128::from(digit - b'0')))
            .ok_or_else(|| AmountError::TooLarge(text.to_owned()))?;
    }
    Ok(if negative { -units } else { units })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_read_and_write_as_plain_decimals() {
        for text in ["0", "1", "-1.5", "0.000000000000000000000001", "170000000000000.25"] {
            assert_eq!(text.parse::<Usd>().unwrap().to_string(), text);
        }
        assert_eq!("1.500".parse::<Usd>().unwrap().to_string(), "1.5");
    }

    #[test]
    fn invalid_amounts_are_rejected() {
        for text in ["", "-", ".5", "1.", "1e3", "NaN", " 1", "1,0", "+1", "--1", "0.0000000000000000000000001"] {
            assert!(text.parse::<Usd>().is_err(), "{text:?}");
        }
        assert!(matches!("999999999999999999".parse::<Usd>(), Err(AmountError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn an_amount_survives_a_round_trip_through_text(units in any::<i128>().prop_map(|n| n / 2)) {
            let amount = Usd::from_units(units);
            prop_assert_eq!(amount.to_string().parse::<Usd>().unwrap(), amount);
        }
    }
}
