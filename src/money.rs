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
        f.write_str(UsdText::new(*self).as_str())
    }
}

/// An amount as text, the shortest exact decimal, without an allocation: delivery writes one or two for each event.
#[derive(Clone)]
pub struct UsdText {
    bytes: [u8; Self::LENGTH],
    start: u8,
    end: u8,
    /// The amount as an integer of 10⁻¹² USD, if it is one and a double holds it exactly.
    picodollars: Option<i64>,
}

impl UsdText {
    /// The most bytes: a sign, 15 digits, a point and 24 decimals.
    const LENGTH: usize = 41;
    /// The place of the first decimal.
    const DECIMALS: usize = Self::LENGTH - SCALE as usize;
    /// Half of the decimals, which fit a `u64`.
    const HALF: u64 = 10_u64.pow(SCALE / 2);

    /// The text of an amount.
    #[must_use]
    pub fn new(amount: Usd) -> Self {
        const ONE: u128 = 10_u128.pow(SCALE);
        let magnitude = amount.0.unsigned_abs();
        // A division of 128 bits takes longer than all else, and few calls cost a dollar.
        let (whole, fraction) =
            if magnitude < ONE { (0, magnitude) } else { ((magnitude / ONE) as u64, magnitude % ONE) };
        let (high, low) = ((fraction / u128::from(Self::HALF)) as u64, (fraction % u128::from(Self::HALF)) as u64);
        let mut bytes = [b'0'; Self::LENGTH];
        let mut end = Self::DECIMALS - 1;
        if fraction != 0 {
            bytes[end] = b'.';
            end = Self::DECIMALS + SCALE as usize / 2;
            put_digits(&mut bytes[Self::DECIMALS..end], high);
            if low != 0 {
                put_digits(&mut bytes[end..], low);
                end = Self::LENGTH;
            }
            while bytes[end - 1] == b'0' {
                end -= 1;
            }
        }
        let mut start = Self::DECIMALS - 2;
        let mut left = whole;
        while left >= 10 {
            bytes[start] = b'0' + (left % 10) as u8;
            left /= 10;
            start -= 1;
        }
        bytes[start] = b'0' + left as u8;
        if amount.0 < 0 {
            start -= 1;
            bytes[start] = b'-';
        }
        let picodollars = (low == 0 && whole < 9_000).then(|| {
            let magnitude = (whole * Self::HALF + high) as i64;
            if amount.0 < 0 { -magnitude } else { magnitude }
        });
        Self { bytes, start: start as u8, end: end as u8, picodollars }
    }

    /// The text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // All bytes are ASCII.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The double that is nearest to the amount.
    #[must_use]
    pub fn nearest(&self) -> f64 {
        match self.picodollars {
            // Both numbers are exact, so the quotient is rounded once.
            Some(amount) => amount as f64 / Self::HALF as f64,
            None => self.as_str().parse().unwrap_or_default(),
        }
    }
}

/// Fills `bytes` with the last digits of a number.
fn put_digits(bytes: &mut [u8], mut number: u64) {
    let (pairs, _) = bytes.as_chunks_mut::<2>();
    for pair in pairs.iter_mut().rev() {
        let two = (number % 100) as u8;
        number /= 100;
        *pair = [b'0' + two / 10, b'0' + two % 10];
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
        let ends = [i128::MIN, i128::MAX].map(|units| Usd::from_units(units).to_string());
        assert_eq!(ends[0], "-170141183460469.231731687303715884105728");
        assert_eq!(ends[1], "170141183460469.231731687303715884105727");
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

        #[test]
        fn the_nearest_double_is_that_of_the_text(units in any::<i128>(), shift in 0_u32..=126, is_round in any::<bool>()) {
            let small = units >> shift;
            let units = if is_round { small / 10_i128.pow(12) * 10_i128.pow(12) } else { small };
            let text = UsdText::new(Usd::from_units(units));
            prop_assert_eq!(text.nearest().to_bits(), text.as_str().parse::<f64>().unwrap().to_bits());
        }
    }
}
