//! Protobuf's wire format, as far as OTLP needs it: <https://protobuf.dev/programming-guides/encoding/>.

/// The value of an attribute.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    Int(u64),
    Double(f64),
    /// An array of texts.
    Texts(&'a [&'a str]),
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Bytes of a number in base 128.
const fn varint_length(value: u64) -> usize {
    // Seven bits a byte; zero takes one byte, too.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Writes a number in base 128, the lowest seven bits first.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    let mut buffer = [0; 10];
    let mut length = 0;
    while value >= 0x80 {
        buffer[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    buffer[length] = value as u8;
    out.extend_from_slice(&buffer[..=length]);
}

/// The bytes of a field with a length: its tag, its length and its content.
const fn field_length(content: usize) -> usize {
    // Every field of OTLP that is written here has a number below 16, so its tag takes one byte.
    1 + varint_length(content as u64) + content
}

/// Writes what precedes the content of a field with a length.
#[inline]
pub(super) fn put_head(out: &mut Vec<u8>, field: u64, length: usize) {
    put_varint(out, field << 3 | BYTES);
    put_varint(out, length as u64);
}

/// Writes a field with a message whose length is known once it is written.
pub(super) fn put_message(out: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
    /// Bytes of the length of most spans, which have 128 to 16,383 bytes.
    const ROOM: usize = 2;
    put_varint(out, field << 3 | BYTES);
    let start = out.len();
    out.extend_from_slice(&[0; ROOM]);
    write(out);
    let mut length = Vec::new();
    put_varint(&mut length, (out.len() - start - ROOM) as u64);
    out.splice(start..start + ROOM, length);
}

/// Writes a field of bytes or of text.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes a field of eight bytes.
#[inline]
pub(super) fn put_fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a field with a number in base 128.
#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

impl Value<'_> {
    /// The bytes of the message `AnyValue`.
    fn length(&self) -> usize {
        match self {
            Self::Text(text) => field_length(text.len()),
            Self::Bool(_) => 2,
            Self::Int(value) => 1 + varint_length(*value),
            Self::Double(_) => 9,
            Self::Texts(texts) => field_length(texts_length(texts)),
        }
    }

    /// Writes the message `AnyValue`.
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => put_bytes(out, 1, text.as_bytes()),
            Self::Bool(value) => put_number(out, 2, u64::from(*value)),
            Self::Int(value) => put_number(out, 3, *value),
            Self::Double(value) => put_fixed64(out, 4, value.to_bits()),
            Self::Texts(texts) => {
                put_head(out, 5, texts_length(texts));
                for text in *texts {
                    put_head(out, 1, field_length(text.len()));
                    put_bytes(out, 1, text.as_bytes());
                }
            }
        }
    }
}

/// The bytes of the message `ArrayValue` with these texts.
fn texts_length(texts: &[&str]) -> usize {
    texts.iter().map(|text| field_length(field_length(text.len()))).sum()
}

/// Writes a field with the message `KeyValue`. The key comes in two parts, so that a prefix needs no buffer.
#[inline]
pub(super) fn put_attribute(out: &mut Vec<u8>, field: u64, (prefix, name): (&str, &str), value: Value<'_>) {
    let (key, content) = (prefix.len() + name.len(), value.length());
    put_head(out, field, field_length(key) + field_length(content));
    put_head(out, 1, key);
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(name.as_bytes());
    put_head(out, 2, content);
    value.put(out);
}

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
