//! Texts that go into objects of the API.

/// Stands for what was left out.
const GAP: &str = " … ";

/// What is wrong with a text, without the place in it, where whoever reads it does not have that text.
#[must_use]
pub fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    said.strip_suffix(&place).unwrap_or(&said).to_owned()
}

/// At most `bytes` of a text, without its middle. A message begins with what it is about and ends with the reason, and
/// quotes between them whatever stands in an object.
#[must_use]
pub fn shortened(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    let half = bytes.saturating_sub(GAP.len()) / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    [&text[..head], GAP, &text[tail..]].concat()
}
