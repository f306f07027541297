//! Turns the docstrings of the extension's stub into a macro. `src/py/` documents its items with it, so that each docstring is written
//! only once.

use std::error::Error;
use std::fmt::Write;

/// The macro `stub_doc!("Meter.track")` for every docstring of a stub.
///
/// # Errors
/// If a docstring does not end.
pub fn macro_of(stub: &str) -> Result<String, Box<dyn Error>> {
    let mut rules = String::new();
    let mut class = None;
    // The class or function whose docstring may follow.
    let mut owner: Option<String> = None;
    let mut lines = stub.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let is_inside = line.starts_with(' ');
        if let Some(name) = name_after("class ", text) {
            class = Some(name);
            owner = class.map(str::to_owned);
        } else if let Some(name) = name_after("def ", text) {
            owner =
                Some(class.filter(|_| is_inside).map_or_else(|| name.to_owned(), |class| format!("{class}.{name}")));
        } else if let Some(first) = text.strip_prefix("\"\"\"") {
            let docstring = docstring(first, &mut lines)?;
            if let Some(owner) = owner.take() {
                writeln!(rules, "    ({owner:?}) => {{ {docstring:?} }};")?;
            }
        } else if !is_inside && !text.is_empty() && !text.starts_with(')') {
            // The docstring of an assignment does not exist at run time.
            owner = None;
        }
    }
    Ok(format!("macro_rules! stub_doc {{\n{rules}}}\n"))
}

fn name_after<'a>(keyword: &str, text: &'a str) -> Option<&'a str> {
    let rest = text.strip_prefix(keyword)?;
    rest.split(|character: char| !character.is_alphanumeric() && character != '_').next()
}

/// A docstring whose first line is `first`, without the common indentation of its lines, as `inspect.cleandoc` returns it.
fn docstring<'a>(first: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> Result<String, Box<dyn Error>> {
    if let Some((text, _)) = first.split_once("\"\"\"") {
        return Ok(text.trim().to_owned());
    }
    let mut found = Vec::new();
    for line in lines {
        let Some((text, _)) = line.split_once("\"\"\"") else {
            found.push(line.trim_end());
            continue;
        };
        found.push(text.trim_end());
        let indent = |line: &&str| line.len() - line.trim_start().len();
        let shared = found.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or_default();
        let rest = found.iter().map(|line| line.get(shared..).unwrap_or_default()).collect::<Vec<_>>().join("\n");
        return Ok(format!("{}\n{}", first.trim(), rest).trim_end().to_owned());
    }
    Err(format!("the docstring that begins with {first:?} does not end").into())
}
