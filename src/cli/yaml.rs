//! YAML as kubectl reads and writes it.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;

/// The documents of a file, with the values that kubectl gives them: it reads YAML 1.1, in which `yes` and `on` are
/// true and `0777` is 511. A duplicate key, of which kubectl takes the last one, is an error.
pub(super) fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        // However many jobs there are: what guards against a hostile text would leave the file unchecked. How much
        // comes of aliases stays limited, or a few lines would fill the memory.
        budget: serde_saphyr::budget! {
            max_documents: usize::MAX,
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
            max_buffered_comment_events: usize::MAX,
            max_anchors: usize::MAX,
            max_aliases: usize::MAX,
            max_merge_keys: usize::MAX,
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::from_multiple_with_options(&as_documents(text), options)
}

/// The objects of a file, with the numbers that kubectl gives them: `2.0` and `1e0` are integers.
pub(super) fn objects(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    let mut objects = documents(text)?;
    objects.iter_mut().for_each(make_whole);
    Ok(objects)
}

fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            // Rust writes no exponent, and a whole number without its point.
            let digits = number.as_f64().map(|float| float.to_string());
            if let Some(whole) = digits.and_then(|digits| digits.parse::<i64>().ok()) {
                *value = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        _ => {}
    }
}

/// JSON objects that follow each other, as `jq '.items[]'` prints them, are documents to kubectl. To YAML they are
/// when each line on which one begins says so; no line moves.
fn as_documents(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with('{') {
        return text.into();
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut separated, mut begin) = (String::new(), 0);
    while let Some(value) = values.next() {
        let object = &text[begin..values.byte_offset()];
        let blank = object.len() - object.trim_start().len();
        if value.is_err() || (begin > 0 && !object[..blank].ends_with('\n')) {
            return text.into();
        }
        separated += &object[..blank];
        separated += if begin > 0 { "--- " } else { "" };
        separated += &object[blank..];
        begin = values.byte_offset();
    }
    separated.into()
}

/// An object as YAML that kubectl can read, too.
pub(super) fn printed(object: &Value) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&Printed(object))
}

struct Printed<'a>(&'a Value);

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            // Go's library takes the tab of a block for bad indentation.
            Value::String(text) if text.trim_start_matches('\n').starts_with('\t') => {
                DoubleQuoted(text).serialize(serializer)
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Printed)),
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(name, field)| (name, Printed(field)))),
            value => value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_means_what_it_means_to_kubectl() {
        let parse = |text: &str| -> Vec<Value> { documents(text).unwrap() };
        // As kubectl 1.37 printed them with `create --dry-run=client --validate=false -o json`.
        for (words, value) in [
            ("y Y yes Yes YES on On ON true True TRUE", json!(true)),
            ("n N no No NO off Off OFF false False FALSE", json!(false)),
            ("~ null Null NULL", Value::Null),
            ("0777 00777 0o777 0x1FF 0b111111111 511 +511", json!(511)),
            ("-0777 -511", json!(-511)),
            ("1_000 1000", json!(1000)),
            ("0 00", json!(0)),
            (".5 0.5", json!(0.5)),
        ] {
            for word in words.split(' ') {
                assert_eq!(parse(&format!("a: {word}"))[0]["a"], value, "{word}");
            }
        }
        for word in ["1:30", "2001-01-01", "_1", ".", "=", "\"yes\"", "!!str yes", "'0777'"] {
            let text = word.trim_start_matches("!!str ").trim_matches(['"', '\'']);
            assert_eq!(parse(&format!("a: {word}"))[0]["a"], text, "{word}");
        }
        assert!(documents::<Value>("a: .inf").is_err(), "nor has JSON a word for it");
        assert!(documents::<Value>("a: 1\na: 2").is_err());
    }

    #[test]
    fn anchors_and_comments_are_not_counted_and_a_text_that_grows_without_end_is_refused() {
        let aliases = format!("a: &a {{b: 1}}\nlist:\n{}", "- *a\n".repeat(200));
        assert_eq!(documents::<Value>(&aliases).unwrap()[0]["list"][199]["b"], 1);
        let merged = format!("a: &a {{b: 1}}\nlist:\n{}", "- <<: *a\n".repeat(10_001));
        assert_eq!(documents::<Value>(&merged).unwrap()[0]["list"][10_000]["b"], 1);
        let commented = format!(
            "a:\n{}  b: 1\nc:\n{}- 1",
            "  # why\n".repeat(100),
            "# why\n".repeat(100)
        );
        assert_eq!(
            documents::<Value>(&commented).unwrap()[0],
            json!({ "a": { "b": 1 }, "c": [1] })
        );
        let laughs = (1..10).fold("a0: &a0 [lol]\n".to_owned(), |text, level| {
            let before = format!("*a{},", level - 1).repeat(10);
            format!("{text}a{level}: &a{level} [{before}]\n")
        });
        assert!(documents::<Value>(&laughs).is_err());
    }

    #[test]
    fn a_text_that_begins_with_a_tab_is_quoted_and_a_script_stays_a_block() {
        let text = printed(&json!({ "args": ["\n\tindented\nmore\n", "set -e\n\ttrain\n"], "of": 1 })).unwrap();
        let expected = "args:\n- \"\\n\\tindented\\nmore\\n\"\n- |\n  set -e\n  \ttrain\nof: 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        let text = "{a: [2.0, 1e0, -3.0, 1e18, 1.5, 1e30], b: \"2.0\"}";
        let expected = json!({ "a": [2, 1, -3, 1_000_000_000_000_000_000_i64, 1.5, 1e30], "b": "2.0" });
        assert_eq!(objects(text).unwrap(), [expected]);
    }

    #[test]
    fn json_objects_that_follow_each_other_are_documents_and_each_stays_on_its_line() {
        let objects = |text: &str| objects(text).map_err(|error| error.to_string());
        let both = Ok(vec![json!({ "a": 1 }), json!({ "b": [{}] })]);
        assert_eq!(objects("\n{\n  \"a\": 1\n}\n{\n  \"b\": [\n    {}\n  ]\n}\n"), both);
        assert_eq!(objects("{\"a\":1}\n\n{\"b\":[{}]}"), both);
        assert_eq!(objects("{a: 1}\n---\n{b: [{}]}"), both, "it is YAML");
        let error = objects("{\"a\": 1}\n{\"b\": 1,\n \"b\": 2}").unwrap_err();
        assert!(error.contains("line 3"), "{error}");
    }
}
