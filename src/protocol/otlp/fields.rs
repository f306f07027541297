//! Reads protobuf's wire format.

use super::wire::{BYTES, FIXED64, VARINT};

const FIXED32: u64 = 5;

/// A field of a message that is read.
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A field of a fixed width, which no response has that is read here.
    Other,
}

/// The fields of a message. Ends at the first byte that is no protobuf; [`Fields::is_whole`] tells whether it was the end.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// Whether everything was read.
    pub(super) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    fn varint(rest: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, others) = rest.split_first()?;
            *rest = others;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn field(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
        let tag = Self::varint(rest)?;
        let mut skip = |length: u64| {
            let (content, others) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = others;
            Some(content)
        };
        let field = match tag & 7 {
            VARINT => Field::Number(Self::varint(rest)?),
            FIXED64 => skip(8).map(|_| Field::Other)?,
            FIXED32 => skip(4).map(|_| Field::Other)?,
            BYTES => {
                let length = Self::varint(rest)?;
                let (content, others) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                *rest = others;
                Field::Bytes(content)
            }
            _ => return None,
        };
        (tag >> 3 > 0).then_some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.0;
        let found = Self::field(&mut rest)?;
        self.0 = rest;
        Some(found)
    }
}
