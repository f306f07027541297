//! Removes the parts of a stream that are only there because usage was requested on the caller's behalf.

/// The event without `"usage": null`, which such a stream has in every chunk but the last; `None` if the event does not contain it.
pub(super) fn without_null_usage(event: &[u8]) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"\"usage\"";
    const NULL: &[u8] = b"null";
    let mut depth = 0_u32;
    let mut at = 0;
    while at < event.len() {
        match event[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = string_end(event, at)?;
                let colon = skip_space(event, end);
                if depth == 1 && &event[at..end] == KEY && event.get(colon) == Some(&b':') {
                    let value = skip_space(event, colon + 1);
                    let after = value + NULL.len();
                    return (event.get(value..after) == Some(NULL)).then(|| cut(event, at, after));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The end of the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    from + bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The bytes without a member of an object, and without the comma that separates it from another member.
fn cut(bytes: &[u8], start: usize, end: usize) -> Vec<u8> {
    let before = bytes[..start].trim_ascii_end();
    if let Some(before) = before.strip_suffix(b",") {
        return [before, &bytes[end..]].concat();
    }
    let comma = skip_space(bytes, end);
    let rest = if bytes.get(comma) == Some(&b',') { skip_space(bytes, comma + 1) } else { end };
    [&bytes[..start], &bytes[rest..]].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn only_the_member_of_the_outermost_object_is_removed() {
        for (event, rest) in [
            (r#"data: {"a":[{"usage":null}],"usage":null}"#, r#"data: {"a":[{"usage":null}]}"#),
            (r#"data: {"usage": null, "b": 1}"#, r#"data: {"b": 1}"#),
            (r#"data: {"a":"\"usage\":null,","usage":null,"b":1}"#, r#"data: {"a":"\"usage\":null,","b":1}"#),
            (r#"data: { "usage" : null }"#, "data: {  }"),
        ] {
            let found = without_null_usage(event.as_bytes()).map(String::from_utf8);
            assert_eq!(found, Some(Ok(rest.to_owned())));
        }
        for event in ["data: [DONE]", r#"data: {"usage":{"a":null}}"#, r#"data: {"a":"usage"}"#, r#"data: {"usa"#, ""] {
            assert_eq!(without_null_usage(event.as_bytes()), None);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from), ".{0,9}".prop_map(Value::from)];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(usage|[a-z\"\\\\]{0,4})", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_rest_is_the_same_object_without_the_member(
            before in prop::collection::btree_map("[a-f]{1,3}", values(), 0..4),
            after in prop::collection::btree_map("[v-z]{1,3}", values(), 0..4),
        ) {
            let mut fields: Map<String, Value> = before.into_iter().chain(after).collect();
            let wanted = Value::Object(fields.clone());
            fields.insert("usage".to_owned(), Value::Null);
            for text in [serde_json::to_string(&fields), serde_json::to_string_pretty(&fields)] {
                let event = format!("data: {}\n\n", text.map_err(|error| TestCaseError::fail(error.to_string()))?);
                let found = without_null_usage(event.as_bytes()).unwrap_or_default();
                let json = found.strip_prefix(b"data: ").unwrap_or_default();
                prop_assert_eq!(&serde_json::from_slice::<Value>(json).unwrap_or_default(), &wanted);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = without_null_usage(&bytes);
        }
    }
}
