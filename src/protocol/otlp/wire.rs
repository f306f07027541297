//! Writes protobuf's wire format, as far as OTLP needs it: <https://protobuf.dev/programming-guides/encoding/>.

/// The value of an attribute.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a [u8]),
    Int(u64),
    Double(f64),
    /// An array of texts.
    Texts(&'a [&'a str]),
}

pub(super) const VARINT: u64 = 0;
pub(super) const FIXED64: u64 = 1;
pub(super) const BYTES: u64 = 2;

/// The field `attributes` of a span.
const ATTRIBUTES: u64 = 9;

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
    // Copying a constant number of bytes and taking some back is faster than copying a variable number.
    let end = out.len() + length + 1;
    out.extend_from_slice(&buffer);
    out.truncate(end);
}

/// The bytes of a field with a length: its tag, its length and its content.
const fn field_length(content: usize) -> usize {
    // Every field of OTLP that is written here has a number below 16, so its tag takes one byte.
    1 + varint_length(content as u64) + content
}

/// Writes what precedes the content of a field with a length.
#[inline]
pub(super) fn put_head(out: &mut Vec<u8>, field: u64, length: usize) {
    out.push((field << 3 | BYTES) as u8);
    put_varint(out, length as u64);
}

/// Writes a field with a message whose length is known once it is written.
///
/// `likely` is a guess of the length. A wrong guess costs time only: if the length takes more or fewer bytes than that of the guess, the
/// message is moved.
#[inline]
pub(super) fn put_message(out: &mut Vec<u8>, field: u64, likely: usize, write: impl FnOnce(&mut Vec<u8>)) {
    put_head(out, field, likely);
    let start = out.len();
    write(out);
    let (length, room) = (out.len() - start, varint_length(likely as u64));
    if varint_length(length as u64) == room {
        let mut left = length;
        for (place, byte) in out[start - room..start].iter_mut().enumerate() {
            *byte = left as u8 & 0x7f | if place + 1 < room { 0x80 } else { 0 };
            left >>= 7;
        }
    } else {
        let mut digits = Vec::new();
        put_varint(&mut digits, length as u64);
        out.splice(start - room..start, digits);
    }
}

/// Writes a field of bytes or of text.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes a field of eight bytes.
#[inline]
fn put_fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    out.push((field << 3 | FIXED64) as u8);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a field with a number in base 128.
#[inline]
fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    out.push((field << 3 | VARINT) as u8);
    put_varint(out, value);
}

impl Value<'_> {
    /// The bytes of the message `AnyValue`.
    fn length(&self) -> usize {
        match self {
            Self::Text(text) => field_length(text.len()),
            Self::Int(value) => 1 + varint_length(*value),
            Self::Double(_) => 9,
            Self::Texts(texts) => field_length(texts_length(texts)),
        }
    }

    /// Writes the message `AnyValue`.
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => put_bytes(out, 1, text),
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
pub(super) fn put_pair(out: &mut Vec<u8>, field: u64, (prefix, name): (&[u8], &[u8]), value: Value<'_>) {
    let (key, content) = (prefix.len() + name.len(), value.length());
    put_head(out, field, field_length(key) + field_length(content));
    put_head(out, 1, key);
    out.extend_from_slice(prefix);
    out.extend_from_slice(name);
    put_head(out, 2, content);
    value.put(out);
}

/// Writes an attribute of a span whose key is not constant.
pub(super) fn put_named(out: &mut Vec<u8>, prefix: &str, name: &str, value: Value<'_>) {
    put_pair(out, ATTRIBUTES, (prefix.as_bytes(), name.as_bytes()), value);
}

/// The type of an attribute's value, as the tag of the field of `AnyValue` that holds it.
pub(super) const TEXT: u8 = 1 << 3 | BYTES as u8;
pub(super) const BOOL: u8 = 2 << 3 | VARINT as u8;
pub(super) const INT: u8 = 3 << 3 | VARINT as u8;
pub(super) const DOUBLE: u8 = 4 << 3 | FIXED64 as u8;

/// An attribute of a span with a constant key, up to its value. Zeros stand for the lengths, which the functions below write.
///
/// ```text
/// 0           attributes, its length
/// 2           key, its length, its bytes
/// key + 4     value, its length
/// key + 6     the type of the value; if it is a text, its length
/// ```
///
/// Nearly all attributes take less than 128 bytes, so that each of these lengths is one byte. The functions write the others by
/// [`put_named`].
pub(super) const fn frame<const LENGTH: usize>(key: &str, kind: u8) -> [u8; LENGTH] {
    let key = key.as_bytes();
    assert!(LENGTH == key.len() + if kind == TEXT { 8 } else { 7 });
    // A frame with the largest number fits in a length of one byte.
    assert!(LENGTH + 8 < SHORT);
    let mut frame = [0; LENGTH];
    frame[0] = (ATTRIBUTES << 3 | BYTES) as u8;
    frame[2] = (1 << 3 | BYTES) as u8;
    frame[3] = key.len() as u8;
    let mut at = 0;
    while at < key.len() {
        frame[4 + at] = key[at];
        at += 1;
    }
    frame[4 + at] = (2 << 3 | BYTES) as u8;
    frame[6 + at] = kind;
    frame
}

/// Lengths below this take one byte.
const SHORT: usize = 0x80;

/// Writes an attribute with a text.
#[inline]
pub(super) fn put_text<const LENGTH: usize>(out: &mut Vec<u8>, frame: &[u8; LENGTH], value: &[u8]) {
    let all = LENGTH - 2 + value.len();
    if all < SHORT {
        let mut head = *frame;
        head[1] = all as u8;
        head[LENGTH - 3] = value.len() as u8 + 2;
        head[LENGTH - 1] = value.len() as u8;
        out.extend_from_slice(&head);
        out.extend_from_slice(value);
    } else {
        put_long(out, &frame[4..LENGTH - 4], value);
    }
}

#[cold]
#[inline(never)]
fn put_long(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    put_pair(out, ATTRIBUTES, (b"", key), Value::Text(value));
}

/// Writes an attribute with a whole number.
#[inline]
pub(super) fn put_int<const LENGTH: usize>(out: &mut Vec<u8>, frame: &[u8; LENGTH], value: u64) {
    let length = varint_length(value);
    let mut head = *frame;
    head[1] = (LENGTH - 2 + length) as u8;
    head[LENGTH - 2] = 1 + length as u8;
    out.extend_from_slice(&head);
    put_varint(out, value);
}

/// Writes an attribute with a number.
#[inline]
pub(super) fn put_double<const LENGTH: usize>(out: &mut Vec<u8>, frame: &[u8; LENGTH], value: f64) {
    let mut head = *frame;
    head[1] = (LENGTH - 2 + 8) as u8;
    head[LENGTH - 2] = 9;
    out.extend_from_slice(&head);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes an attribute that is true.
#[inline]
pub(super) fn put_true<const LENGTH: usize>(out: &mut Vec<u8>, frame: &[u8; LENGTH]) {
    put_int(out, frame, 1);
}

/// Writes an attribute with a text whose key is a constant prefix and a name.
#[inline]
pub(super) fn put_tag(out: &mut Vec<u8>, prefix: &'static str, name: &str, value: &str) {
    let key = prefix.len() + name.len();
    let all = key + value.len() + 6;
    if all < SHORT {
        out.extend_from_slice(&[(ATTRIBUTES << 3 | BYTES) as u8, all as u8, (1 << 3 | BYTES) as u8, key as u8]);
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&[(2 << 3 | BYTES) as u8, value.len() as u8 + 2, TEXT, value.len() as u8]);
        out.extend_from_slice(value.as_bytes());
    } else {
        put_named(out, prefix, name, Value::Text(value.as_bytes()));
    }
}
