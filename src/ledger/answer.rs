//! The rows of a report that a `ClickHouse` server answered.
//!
//! A line is a JSON array of texts: the ten sums of [`Totals`] in their order, then the values of the fields. If the server cut the rows, the
//! number of groups and the ten sums of all of them follow, the same in each line. What is not known is `null` and counts as 0.

use std::borrow::Cow;

use super::error::LedgerError;
use super::order::{COUNT_NAMES, ReportPage, Sums};
use crate::money::{AmountError, Usd};

const COUNTS: usize = COUNT_NAMES.len();
/// The number of sums.
const SUMS: usize = COUNTS + 2;

/// Reads the lines of an answer to a report by so many fields, in their order. For a part of time, `begins` has when the parts begin, in
/// seconds, ascending: its value is such a beginning, and becomes the index of the part.
///
/// # Errors
/// If a line has another form.
pub fn answered(lines: &str, begins: &[Option<Vec<u64>>]) -> Result<ReportPage, LedgerError> {
    let mut rows = Vec::new();
    let (mut shown, mut whole) = (Sums::default(), None);
    for line in lines.lines() {
        let invalid = || LedgerError::Query(format!("the server's answer has a row of another form: {line:.200}"));
        let cells: Vec<Option<Cow<'_, str>>> = serde_json::from_str(line).map_err(|_| invalid())?;
        let sums = sums_of(&cells).ok_or_else(invalid)?;
        let key = cells.get(SUMS..SUMS + begins.len()).ok_or_else(invalid)?;
        let key = key.iter().zip(begins).map(|(cell, begins)| value_of(cell.as_deref(), begins.as_deref()));
        rows.push((key.collect::<Option<Vec<_>>>().ok_or_else(invalid)?, sums.into()));
        shown.add(&sums);
        if let Some((groups, all)) = cells.get(SUMS + begins.len()..).and_then(<[_]>::split_first)
            && whole.is_none()
        {
            let groups = groups.as_deref().and_then(|groups| groups.parse().ok()).ok_or_else(invalid)?;
            whole = Some((sums_of(all).ok_or_else(invalid)?, groups));
        }
    }
    let (total, groups) = whole.unwrap_or((shown, rows.len()));
    Ok(ReportPage { rows, others: total.without(&shown).into(), total: total.into(), groups })
}

fn sums_of(cells: &[Option<Cow<'_, str>>]) -> Option<Sums> {
    let (counts, amounts) = cells.get(..SUMS)?.split_at(COUNTS);
    let mut sums = Sums::default();
    for (count, cell) in sums.counts.iter_mut().zip(counts) {
        *count = cell.as_deref()?.parse().ok()?;
    }
    let amount = |cell: &Option<Cow<'_, str>>| match cell.as_deref() {
        None => Some(0),
        Some(text) => match text.parse::<Usd>() {
            Ok(amount) => Some(amount.units()),
            // The sums of the ledger's file end there, too.
            Err(AmountError::TooLarge(text)) => Some(if text.starts_with('-') { i128::MIN } else { i128::MAX }),
            Err(_) => None,
        },
    };
    (sums.cost, sums.saved) = (amount(&amounts[0])?, amount(&amounts[1])?);
    Some(sums)
}

fn value_of(cell: Option<&str>, begins: Option<&[u64]>) -> Option<String> {
    let text = cell.unwrap_or_default();
    let Some(begins) = begins else { return Some(text.to_owned()) };
    let index = begins.binary_search(&text.parse().ok()?).ok()?;
    Some(index.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"["2","1","0","30","4","5","0","0","-0.500000000000000000000000",null,"a\"b","3600"]"#;

    #[test]
    fn lines_are_rows_and_their_sum() {
        let found = answered(&format!("{LINE}\n{LINE}\n"), &[None, Some(vec![0, 3600])]).unwrap();
        assert_eq!((found.groups, found.rows.len()), (2, 2));
        assert_eq!(found.rows[0].0, ["a\"b", "1"]);
        assert_eq!((found.total.calls, found.total.cost.to_string()), (4, "-1".to_owned()));
        assert_eq!(found.others, super::super::Totals::default());
        assert_eq!(answered("", &[None]).unwrap(), ReportPage::default());
    }

    #[test]
    fn a_cut_answer_has_the_sums_of_all_groups() {
        let cut = LINE.replace(']', r#","7","9","1","0","90","4","5","0","0","100000000000000.5","0"]"#);
        let found = answered(&cut, &[None, Some(vec![0, 3600])]).unwrap();
        assert_eq!((found.groups, found.total.calls, found.others.calls, found.others.input_tokens), (7, 9, 7, 60));
        assert_eq!(found.others.cost.to_string(), "100000000000001");
    }

    #[test]
    fn an_amount_that_is_too_large_is_the_largest() {
        let most = Usd::from_units(i128::MAX);
        for (text, expected) in [("170141183460470", most), ("-99999999999999999", Usd::from_units(i128::MIN))] {
            let found =
                answered(&LINE.replace("-0.500000000000000000000000", text), &[None, Some(vec![3600])]).unwrap();
            assert_eq!(found.total.cost, expected);
        }
    }

    #[test]
    fn a_line_of_another_form_is_an_error() {
        for line in [
            "[]",
            "{}",
            "[1]",
            &LINE.replace("\"2\"", "\"-2\""),
            &LINE.replace("3600", "3601"),
            &LINE.replace(",\"3600\"", ""),
        ] {
            let error = answered(line, &[None, Some(vec![0, 3600])]).unwrap_err();
            assert!(error.to_string().starts_with("the server's answer has a row"), "{error}");
        }
    }
}
