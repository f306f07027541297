//! Columns of numbers as bytes, so that a report reads only the columns it needs.
//!
//! A column begins with a byte for its kind. Of all but [`WIDE`] follow a base (8 bytes, little endian), an exponent of ten (one byte) and a
//! width (one byte), then one number of that width for each row, and 7 bytes more, so that every number can be read as 8 bytes.
//! A number n stands for `base + n * 10^exponent`; in a column of optional ones, 0 for none and n for `base + (n - 1) * 10^exponent`.

use super::error::LedgerError;
use crate::money::Usd;

const PLAIN: u8 = 0;
const OPTIONAL: u8 = 1;
/// Optional amounts that fit in 63 bits after division by the power of ten. The sign is in the lowest bit, and the base is 0.
const AMOUNTS: u8 = 2;
/// Optional amounts of any size: a byte that is 1 if there is one, and 16 bytes of it.
const WIDE: u8 = 3;
const HEADER: usize = 11;
const PADDING: usize = 7;

/// The column of these numbers; `None` if all are 0.
pub(super) fn encode(numbers: &[u64]) -> Option<Vec<u8>> {
    let (min, max) = (*numbers.iter().min()?, *numbers.iter().max()?);
    if max == 0 {
        return None;
    }
    let exponent = common_exponent(numbers.iter().map(|number| u128::from(number - min)));
    let scale = 10_u64.pow(u32::from(exponent));
    let rows = numbers.iter().map(|number| (number - min) / scale);
    Some(pack(PLAIN, min, exponent, (max - min) / scale, rows))
}

/// The column of these numbers; `None` if all are absent.
pub(super) fn encode_optional(numbers: &[Option<u64>]) -> Option<Vec<u8>> {
    let present = || numbers.iter().flatten().copied();
    let (min, max) = (present().min()?, present().max()?);
    let exponent = common_exponent(present().map(|number| u128::from(number - min)));
    let scale = 10_u64.pow(u32::from(exponent));
    let rows = numbers.iter().map(|number| number.map_or(0, |number| (number - min) / scale + 1));
    Some(pack(OPTIONAL, min, exponent, (max - min) / scale + 1, rows))
}

/// The column of these amounts; `None` if all are absent.
pub(super) fn encode_amounts(amounts: &[Option<Usd>]) -> Option<Vec<u8>> {
    let present = || amounts.iter().flatten().map(|amount| amount.units());
    let largest = present().map(i128::unsigned_abs).max()?;
    let exponent = common_exponent(present().map(i128::unsigned_abs));
    let scale = 10_u128.pow(u32::from(exponent));
    if largest / scale >= 1 << 62 {
        let mut bytes = vec![WIDE];
        for amount in amounts {
            bytes.push(u8::from(amount.is_some()));
            bytes.extend(amount.unwrap_or_default().units().to_le_bytes());
        }
        return Some(bytes);
    }
    let row = |amount: &Option<Usd>| {
        amount.map_or(0, |amount| {
            let size = (amount.units().unsigned_abs() / scale) as u64;
            (size << 1 | u64::from(amount.units() < 0)) + 1
        })
    };
    let max = amounts.iter().map(row).max().unwrap_or_default();
    Some(pack(AMOUNTS, 0, exponent, max, amounts.iter().map(row)))
}

/// The highest power of ten that divides all numbers, up to 10^18.
fn common_exponent(numbers: impl Iterator<Item = u128>) -> u8 {
    let (mut exponent, mut scale) = (18, 10_u128.pow(18));
    // Most numbers need one division: that by the highest power that divides all before.
    for number in numbers {
        while exponent > 0 && number % scale != 0 {
            exponent -= 1;
            scale /= 10;
        }
    }
    exponent
}

fn pack(kind: u8, base: u64, exponent: u8, max: u64, rows: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let width = (64 - max.leading_zeros()).div_ceil(8) as usize;
    let mut bytes = Vec::with_capacity(HEADER + rows.len() * width + PADDING);
    bytes.push(kind);
    bytes.extend(base.to_le_bytes());
    bytes.extend([exponent, width as u8]);
    for row in rows {
        bytes.extend(&row.to_le_bytes()[..width]);
    }
    bytes.extend([0; PADDING]);
    bytes
}

/// The numbers of a column before they are scaled.
struct Rows {
    base: u64,
    scale: u64,
    numbers: Vec<u64>,
}

fn unpack(bytes: &[u8], kind: u8, count: usize) -> Result<Rows, LedgerError> {
    let header = bytes.get(..HEADER).filter(|header| header[0] == kind).ok_or(LedgerError::BadBlock)?;
    let (exponent, width) = (header[9], usize::from(header[10]));
    let base = u64_at(header, 1).ok_or(LedgerError::BadBlock)?;
    let data = &bytes[HEADER..];
    if exponent > 18 || width > 8 || data.len() != count * width + PADDING {
        return Err(LedgerError::BadBlock);
    }
    // A loop for each width is several times as fast as one for all.
    let numbers = match width {
        0 => vec![0; count],
        1 => widen::<1>(data, count),
        2 => widen::<2>(data, count),
        3 => widen::<3>(data, count),
        4 => widen::<4>(data, count),
        5 => widen::<5>(data, count),
        6 => widen::<6>(data, count),
        7 => widen::<7>(data, count),
        _ => widen::<8>(data, count),
    };
    Ok(Rows { base, scale: 10_u64.pow(u32::from(exponent)), numbers })
}

fn widen<const WIDTH: usize>(data: &[u8], count: usize) -> Vec<u64> {
    let widened = |bytes: &[u8; WIDTH]| {
        let mut word = [0; 8];
        word[..WIDTH].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    data.as_chunks().0.iter().take(count).map(widened).collect()
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The numbers of a column that [`encode`] made.
pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Vec<u64>, LedgerError> {
    let mut rows = unpack(bytes, PLAIN, count)?;
    if (rows.base, rows.scale) != (0, 1) {
        for number in &mut rows.numbers {
            *number = rows.base.wrapping_add(number.wrapping_mul(rows.scale));
        }
    }
    Ok(rows.numbers)
}

/// The numbers of a column that [`encode_optional`] made. They are scaled when they are asked for: a vector of options takes twice the
/// memory, and most of the time goes to new pages of memory.
pub(super) struct Optional(Rows);

impl Optional {
    pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Self, LedgerError> {
        unpack(bytes, OPTIONAL, count).map(Self)
    }

    /// The number of a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<u64> {
        let number = self.0.numbers[row].checked_sub(1)?;
        Some(self.0.base.wrapping_add(number.wrapping_mul(self.0.scale)))
    }
}

/// The amounts of a column that [`encode_amounts`] made.
pub(super) enum Amounts {
    Narrow { rows: Vec<u64>, scale: i128 },
    Wide(Vec<Option<i128>>),
}

impl Amounts {
    pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Self, LedgerError> {
        if bytes.first() != Some(&WIDE) {
            let rows = unpack(bytes, AMOUNTS, count)?;
            return Ok(Self::Narrow { rows: rows.numbers, scale: i128::from(rows.scale) });
        }
        let amounts = bytes[1..].chunks_exact(17).map(|chunk| {
            let units = chunk[1..].try_into().map(i128::from_le_bytes).unwrap_or_default();
            (chunk[0] == 1).then_some(units)
        });
        let amounts: Vec<_> = amounts.collect();
        if amounts.len() == count { Ok(Self::Wide(amounts)) } else { Err(LedgerError::BadBlock) }
    }

    /// The amount of a row in units of [`Usd`].
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<i128> {
        match self {
            Self::Narrow { rows, scale } => {
                let number = rows[row].checked_sub(1)?;
                let size = i128::from(number >> 1) * scale;
                Some(if number & 1 == 1 { -size } else { size })
            }
            Self::Wide(amounts) => amounts[row],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_survive_a_round_trip(
            numbers in prop::collection::vec((0_u64..u64::MAX, 0_u32..64, 0_u32..6), 1..50),
            holes in any::<u64>(),
        ) {
            let numbers: Vec<u64> = numbers.into_iter().map(|(n, bits, tens)| {
                (n >> bits) / 10_u64.pow(tens) * 10_u64.pow(tens)
            }).collect();
            let count = numbers.len();
            let decoded = encode(&numbers).map_or(Ok(vec![0; count]), |bytes| decode(&bytes, count)).unwrap();
            prop_assert_eq!(&decoded, &numbers);
            let some = |row: usize| holes >> (row % 64) & 1 == 0;
            let optional: Vec<_> =
                numbers.iter().enumerate().map(|(row, n)| some(row).then_some(*n / 2)).collect();
            let decoded = encode_optional(&optional).map(|bytes| Optional::decode(&bytes, count).unwrap());
            for (row, number) in optional.iter().enumerate() {
                prop_assert_eq!(decoded.as_ref().and_then(|decoded| decoded.get(row)), *number);
            }
            let amounts: Vec<_> = numbers.iter().enumerate().map(|(row, n)| some(row).then(|| {
                let sign = if row % 3 == 0 { -1 } else { 1 };
                let scale = if holes & 1 == 0 { 1 } else { 1_000_000_000_000 };
                Usd::from_units(sign * i128::from(*n) * scale)
            })).collect();
            if let Some(bytes) = encode_amounts(&amounts) {
                let column = Amounts::decode(&bytes, count).unwrap();
                for (row, amount) in amounts.iter().enumerate() {
                    prop_assert_eq!(column.get(row).map(Usd::from_units), *amount);
                }
            } else {
                prop_assert!(amounts.iter().all(Option::is_none));
            }
        }

        #[test]
        fn damaged_columns_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0_usize..20) {
            let _ = decode(&bytes, count);
            if let Ok(numbers) = Optional::decode(&bytes, count) {
                for row in 0..count { numbers.get(row); }
            }
            if let Ok(amounts) = Amounts::decode(&bytes, count) {
                for row in 0..count { amounts.get(row); }
            }
        }
    }
}
