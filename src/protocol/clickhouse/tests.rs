use super::super::request::Method;
use super::*;
use crate::event::{Attribution, CostNotes, CostStatus, Unit, Usage};

fn clickhouse(path: &str, server_batches: bool) -> ClickHouse {
    ClickHouse::new(&Options { url_path: path.to_owned(), server_batches, ..Options::default() })
}

#[test]
fn one_request_is_one_insert_with_every_setting() {
    let event = UsageEvent { id: [1; 16], ..UsageEvent::default() };
    let request = clickhouse("/metering", false).encode(&[event.clone(), event.clone()]).remove(0);
    assert_eq!((request.method, request.path.as_str(), request.is_at_root), (Method::Post, "/", true));
    let of = |request: &HttpRequest, name: &str| {
        request.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    assert_eq!(of(&request, "database").as_deref(), Some("metering"));
    let statement = of(&request, "query").unwrap();
    assert!(statement.starts_with("INSERT INTO `taximeter_events` (`id`, `started_at`, "), "{statement}");
    assert!(statement.ends_with("`provider_usage`) FORMAT RowBinaryWithNamesAndTypes"), "{statement}");
    assert_eq!(of(&request, "insert_deduplication_token").unwrap(), "tm1-02020202020202020202020202020202-2");
    for (name, value) in SETTINGS {
        assert_eq!(of(&request, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!((of(&request, "async_insert").as_deref(), of(&request, "wait_for_async_insert")), (Some("0"), None));
    let batched = clickhouse("/", true).encode(&[event]).remove(0);
    assert_eq!(of(&batched, "async_insert").as_deref(), Some("1"));
    assert_eq!(of(&batched, "wait_for_async_insert").as_deref(), Some("1"));
}

#[test]
fn the_token_depends_on_the_events_alone() {
    let event = |id: u8| UsageEvent { id: [id; 16], ..UsageEvent::default() };
    let (a, b, c) = (event(1), event(255), event(3));
    let token = |events: &[&UsageEvent<'_>]| encode::token(events.iter().map(|one| one.id));
    assert_eq!(token(&[&a, &b]), token(&[&b, &a]));
    let different = [token(&[&a]), token(&[&a, &b]), token(&[&a, &c]), token(&[&a, &b, &c]), token(&[&a, &a])];
    let mut unique = different.to_vec();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), different.len());
}

#[test]
fn a_row_has_the_bytes_of_each_type() {
    let mut usage = Usage::default();
    usage.set(Unit::INPUT_TOKENS, 3);
    let tags = vec![("k", "v")];
    let event = UsageEvent {
        id: std::array::from_fn(|index| index as u8),
        started_at: 1,
        provider: "p",
        model: "m",
        operation: "o",
        usage,
        cost: Some(crate::money::Usd::from_units(-2)),
        cost_status: CostStatus::Priced,
        cost_notes: CostNotes::CACHE_AT_INPUT_RATE | CostNotes::HOST_UNKNOWN,
        latency_us: Some(5),
        batch: true,
        attribution: Attribution { user: Some("é"), tags, ..Attribution::default() },
        ..UsageEvent::default()
    };
    let header = encode::header();
    let savings: Savings =
        std::sync::Arc::new(|event| event.cost.map(|cost| crate::money::Usd::from_units(-cost.units())));
    let mut expected: Vec<u8> = vec![7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8];
    expected.extend(1_u64.to_le_bytes());
    expected.extend(b"\x01p\x01m\x01o\x07success\0\0");
    expected.extend([3_u64, 0, 0, 0, 0].into_iter().flat_map(u64::to_le_bytes));
    expected.extend(b"\x01\x0cinput_tokens\x03\0\0\0\0\0\0\0\x08complete");
    expected.push(0);
    expected.extend((-2_i128).to_le_bytes());
    expected.extend(b"\x06priced\x01\0");
    expected.extend(2_i128.to_le_bytes());
    expected.extend(b"\x20cache_at_input_rate,host_unknown\0\0\0\x05\0\0\0\0\0\0\0\x01\0\0\x01\0\0\0\0");
    expected.extend("\u{2}é\0\u{1}\u{1}k\u{1}v\0\0\0\0\0".as_bytes());
    assert_eq!(&encode::encode(&header, &[event], Some(&savings))[header.len()..], expected);
}

#[test]
fn a_long_text_has_a_length_of_several_bytes() {
    let model = "m".repeat(300);
    let header = encode::header();
    let event = UsageEvent { model: &model, ..UsageEvent::default() };
    // After the id, the time and an empty provider.
    assert_eq!(&encode::encode(&header, &[event], None)[header.len() + 25..header.len() + 28], [0xac, 0x02, b'm']);
}

#[test]
fn databases_and_tables_have_plain_names() {
    assert_eq!(place(""), Some(("default", TABLE)));
    assert_eq!(place("/"), Some(("default", TABLE)));
    assert_eq!(place("/a_1"), Some(("a_1", TABLE)));
    assert_eq!(place("/a/"), Some(("a", TABLE)));
    assert_eq!(place("/a/b"), Some(("a", "b")));
    for path in ["/1a", "/a-b", "/a`b", "/a%20b", "/a/b/c", "//b", "/é", "/a.b", "/a/b;"] {
        let options = Options { url_path: path.to_owned(), ..Options::default() };
        assert_eq!(check(&options), Err(OptionError::Database), "{path}");
    }
    let keys = Credentials { user: Some("u"), token: Some("k") };
    let sent = headers(&keys);
    assert_eq!(sent, [("x-clickhouse-user", "u".to_owned()), ("x-clickhouse-key", "k".to_owned())]);
}

/// Statuses and bodies as a server sent them: 26.9 if there is a code, else an older one or a proxy.
const RECORDED: &[(u16, Option<&str>, &str, u64, Verdict)] = &[
    (200, None, "", 10, Verdict::Accepted { rejected: 0 }),
    (
        403,
        Some("516"),
        "Code: 516. DB::Exception: writer: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)",
        10,
        Verdict::Pause,
    ),
    (
        403,
        Some("497"),
        "Code: 497. DB::Exception: writer: Not enough privileges. To execute this query, it's necessary to have the grant INSERT(id) ON default.taximeter_events. (ACCESS_DENIED) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        500,
        Some("164"),
        "Code: 164. DB::Exception: default: Cannot execute query in readonly mode. (READONLY) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        404,
        Some("60"),
        "Code: 60. DB::Exception: Table default.taximeter_events does not exist. (UNKNOWN_TABLE) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        404,
        Some("81"),
        "Code: 81. DB::Exception: Database nothing does not exist. (UNKNOWN_DATABASE) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        404,
        Some("115"),
        "Code: 115. DB::Exception: Unknown setting 'no_such_setting'. (UNKNOWN_SETTING) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        500,
        Some("16"),
        "Code: 16. DB::Exception: No such column nothing in table default.taximeter_events (a0392d8a-4709-42af-95df-e9fd914462bd). (NO_SUCH_COLUMN_IN_TABLE) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        404,
        Some("73"),
        "Code: 73. DB::Exception: Unknown format Nothing. (UNKNOWN_FORMAT) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        501,
        Some("48"),
        "Code: 48. DB::Exception: Unknown compression method 'nonsense'. Only 'auto', 'none', 'gzip', …",
        10,
        Verdict::Pause,
    ),
    (
        400,
        Some("117"),
        "Code: 117. DB::Exception: Type of 'cost_usd' must be Nullable(Decimal(38, 24)), not String: (while reading header): While executing BinaryRowInputFormat. (INCORRECT_DATA) (version 26.9.2.1)",
        10,
        Verdict::Pause,
    ),
    (
        400,
        Some("117"),
        "Code: 117. DB::Exception: Expected end of line: (at row 1)\n: While executing ParallelParsingBlockInputFormat. (INCORRECT_DATA)",
        10,
        Verdict::BisectOrPause,
    ),
    (
        500,
        Some("33"),
        "Code: 33. DB::Exception: Cannot read all data. Bytes read: 2. Bytes expected: 5: (at row 1)\n: While executing BinaryRowInputFormat. (CANNOT_READ_ALL_DATA) (version 26.9.2.1)",
        10,
        Verdict::BisectOrPause,
    ),
    (
        500,
        Some("354"),
        "Code: 354. DB::Exception: inflate failed: data error. (ZLIB_INFLATE_FAILED) (version 26.9.2.1)",
        10,
        Verdict::Uncompressed,
    ),
    (
        500,
        Some("252"),
        "Code: 252. DB::Exception: Too many parts (4 with average size of 4.00 KiB) in table 'default.taximeter_events'. Merges are processing significantly slower than inserts. (TOO_MANY_PARTS) (version 26.9.2.1)",
        10,
        Verdict::Busy(None),
    ),
    (
        500,
        Some("252"),
        "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100). (TOO_MANY_PARTS) (version 26.9.2.1)",
        10,
        Verdict::Split,
    ),
    (
        500,
        Some("241"),
        "Code: 241. DB::Exception: Query memory limit exceeded: would use 1.00 MiB (attempt to allocate chunk of 0.00 B), maximum: 976.56 KiB. (MEMORY_LIMIT_EXCEEDED) (version 26.9.2.1)",
        1_000,
        Verdict::Busy(None),
    ),
    (500, Some("241"), "Code: 241. DB::Exception: Query memory limit exceeded", 1_001, Verdict::Split),
    (
        408,
        Some("159"),
        "Code: 159. DB::Exception: Timeout exceeded: elapsed 115.193 ms, maximum: 100.000 ms. (TIMEOUT_EXCEEDED) (version 26.9.2.1)",
        10,
        Verdict::Busy(None),
    ),
    // 18.16 has no header with the code.
    (
        404,
        None,
        "Code: 115, e.displayText() = DB::Exception: Unknown setting insert_deduplication_token, e.what() = DB::Exception\n",
        10,
        Verdict::Pause,
    ),
    (404, None, "There is no handle /nothing\n\nUse / or /ping for health checks.\n", 10, Verdict::Pause),
    // The port of the native protocol, and a proxy's port of TLS.
    (
        400,
        None,
        "Port 9000 is for clickhouse-client program\r\nYou must use port 8123 for HTTP.\r\n",
        10,
        Verdict::Pause,
    ),
    (400, None, "The plain HTTP request was sent to HTTPS port", 10, Verdict::Pause),
    (451, None, "", 10, Verdict::Pause),
    (413, None, "", 10, Verdict::Split),
    // A materialized view beside the table cannot convert a value.
    (400, Some("70"), "Code: 70. DB::Exception: Cannot convert (CANNOT_CONVERT_TYPE)", 10, Verdict::BisectOrPause),
    (502, None, "<html>Bad Gateway</html>", 10, Verdict::Retry(None)),
    (500, Some("49"), "Code: 49. DB::Exception: a fault. (LOGICAL_ERROR)", 10, Verdict::Retry(None)),
];

#[test]
fn the_servers_own_code_decides_about_recorded_responses() {
    for (status, code, body, sent, expected) in RECORDED {
        let answer = Answer { status: *status, retry_after: None, code: *code, body: body.as_bytes() };
        let format = clickhouse("/", false);
        assert_eq!(&format.verdict(&answer, *sent), expected, "{body}");
        // What a person has to mend, the message says.
        let is_elsewhere = matches!(status, 400 | 404 | 451) && code.is_none();
        let has_message = *status != 200 && (code.is_some() || body.starts_with("Code: ") || is_elsewhere);
        assert_eq!(format.message(&answer).is_some(), has_message, "{body}");
    }
    let wait = Answer { status: 503, retry_after: Some("7"), code: Some("202"), body: b"" };
    assert_eq!(clickhouse("/", false).verdict(&wait, 1), Verdict::Busy(Some(Duration::from_secs(7))));
}
