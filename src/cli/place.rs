//! Where objects and their fields stand in the user's files.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::cli::yaml::documents;

/// Where an object stands. It reads as `document 2, item 1`.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    text: Rc<Text>,
    /// Which document of the text, from 0.
    document: usize,
    /// Which item of the list in it, from 0.
    item: Option<usize>,
}

/// A text, and where its fields stand, which is worked out when a fault asks for it.
#[derive(Debug, Default)]
struct Text {
    text: String,
    documents: OnceCell<Vec<Spanned<Node>>>,
}

impl Place {
    /// A document of a text.
    pub(super) fn first(text: &str) -> Self {
        let text = Text {
            text: text.to_owned(),
            ..Text::default()
        };
        Self {
            text: Rc::new(text),
            ..Self::default()
        }
    }

    /// Another document of the same text.
    pub(super) fn document(&self, document: usize) -> Self {
        Self {
            document,
            ..self.clone()
        }
    }

    /// An item of the list that stands here.
    pub(super) fn item(&self, item: usize) -> Self {
        Self {
            item: Some(item),
            ..self.clone()
        }
    }

    /// The same for another object than the one that stands there, whose fields have no lines.
    pub(super) fn without_lines(&self) -> Self {
        Self {
            text: Rc::default(),
            ..self.clone()
        }
    }

    /// The line of a field of the object, from 1, or of what it is missing in.
    pub(super) fn line(&self, field: &str) -> Option<u64> {
        let parse = || documents(&self.text.text).unwrap_or_default();
        let document = self.text.documents.get_or_init(parse).get(self.document)?;
        let mut at = (document.referenced, &document.value);
        if let Some(item) = self.item {
            at = at.1.step("items")?.0;
            at = at.1.step(&item.to_string())?.0;
        }
        let mut rest = field;
        while let Some((next, left)) = at.1.step(rest) {
            (at, rest) = (next, left);
        }
        Some(at.0.line()).filter(|line| *line > 0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.document + 1)?;
        self.item.map_or(Ok(()), |item| write!(f, ", item {}", item + 1))
    }
}

/// What has fields, with their locations.
#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Self)>),
    List(Vec<Spanned<Self>>),
    Scalar,
}

/// A part of a document and where it begins.
type At<'a> = (Location, &'a Node);

impl Node {
    /// The first part of a path such as `spec.nodeSelector[a.b/c]` in this node, and the rest of the path. Keys may
    /// have dots, so the longest that fits is meant.
    fn step<'a, 'b>(&'a self, path: &'b str) -> Option<(At<'a>, &'b str)> {
        let path = path.trim_start_matches(['.', '[', ']', '"']);
        let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[', ']', '"']);
        match self {
            Self::Map(fields) => {
                let fitting = fields.iter().filter_map(|(key, value)| {
                    let rest = path.strip_prefix(key.value.as_str()).filter(|rest| ends(rest))?;
                    Some(((key.referenced, value), rest))
                });
                fitting.min_by_key(|(_, rest)| rest.len())
            }
            Self::List(items) => {
                let digits = path.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(path.len());
                let (index, rest) = path.split_at(digits);
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some(((item.referenced, &item.value), rest))
            }
            Self::Scalar => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::manifest;

    const TEXT: &str = "\
# A comment.
metadata:
  labels: { a.b/c: x,
    a.b: y }
spec:
  list:
  - name: x
  -
    name: &anchor y
---
---
kind: List
items:
- spec: {}
- spec:
    deep: [1,
      2]
---
{\"spec\": {
  \"suspend\": 1
}}
";

    #[test]
    fn a_field_has_the_line_of_its_key_and_one_that_is_missing_has_that_of_what_it_is_missing_in() {
        let places: Vec<Place> = manifest::objects(TEXT)
            .unwrap()
            .into_iter()
            .map(|(place, _)| place)
            .collect();
        let named: Vec<String> = places.iter().map(Place::to_string).collect();
        assert_eq!(
            named,
            ["document 1", "document 2, item 1", "document 2, item 2", "document 3"]
        );
        for (object, field, line) in [
            (0, "metadata", 2),
            (0, "metadata.name", 2),
            (0, "metadata.labels.a.b", 4),
            (0, "metadata.labels[a.b/c]", 3),
            (0, "metadata.labels.a", 3),
            (0, "spec.list[0].name", 7),
            (0, "spec.list[1].name", 9),
            (0, "spec.list[2].name", 6),
            (0, "spec.runPolicy.suspend", 5),
            (0, "kind", 2),
            (1, "spec.deep", 14),
            (2, "spec.deep[1]", 17),
            (3, "spec.suspend", 20),
        ] {
            assert_eq!(places[object].line(field), Some(line), "{field} of {object}");
        }
        assert_eq!(Place::default().line("spec"), None);
    }
}
