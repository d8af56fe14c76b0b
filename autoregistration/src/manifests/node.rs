//! A value of a YAML document that knows its path, so that each problem names its field.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::str::FromStr;

use serde_norway::Value;

/// Problems of one document: path of the field, message.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<(String, String)>>);

/// A value, or its absence, at a path.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: Option<&'a Value>,
    path: String,
    problems: &'a Problems,
}

// === impl Problems ===

impl Problems {
    pub(super) fn take(self) -> Vec<(String, String)> {
        self.0.into_inner()
    }
}

// === impl Node ===

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, problems: &'a Problems) -> Self {
        Self {
            value: Some(value),
            path: String::new(),
            problems,
        }
    }

    /// A document that is the text of this value; its problems are told with the path of this one before theirs.
    pub(super) fn document<'b>(&self, value: &'b Value) -> Node<'b>
    where
        'a: 'b,
    {
        Node {
            value: Some(value),
            path: self.path.clone(),
            problems: self.problems,
        }
    }

    /// Notes a problem with this value.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.problems
            .0
            .borrow_mut()
            .push((self.path.clone(), message.into()));
    }

    /// Whether a value is there; `null` is none, as in Kubernetes.
    pub(super) fn present(&self) -> bool {
        self.value.is_some_and(|value| !value.is_null())
    }

    /// A field of a mapping; a value that is no mapping has been noted and has no fields.
    pub(super) fn field(&self, name: &str) -> Self {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else if name.contains(['.', '/']) {
            format!("{}[{name}]", self.path)
        } else {
            format!("{}.{name}", self.path)
        };
        let value = match self.value {
            None | Some(Value::Null) => None,
            Some(Value::Mapping(mapping)) => mapping.get(name),
            Some(_) => {
                self.once("is not a mapping of fields");
                None
            }
        };
        Self {
            value,
            path,
            problems: self.problems,
        }
    }

    /// The names of the fields of a mapping.
    pub(super) fn names(&self) -> Vec<String> {
        let fields = self.value.and_then(Value::as_mapping);
        let names = fields.into_iter().flat_map(serde_norway::Mapping::keys);
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }

    /// The entries of a list; none when it is absent.
    pub(super) fn items(&self) -> Vec<Self> {
        match self.value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Sequence(items)) => items
                .iter()
                .enumerate()
                .map(|(index, value)| Self {
                    value: Some(value),
                    path: format!("{}[{index}]", self.path),
                    problems: self.problems,
                })
                .collect(),
            Some(_) => {
                self.once("is not a list; begin each entry with `- `");
                Vec::new()
            }
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        match self.value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => {
                self.once(&format!("`{}` is not text; put it in quotes", show(other)));
                None
            }
        }
    }

    /// Text that is itself a document of YAML.
    pub(super) fn parsed_document(&self) -> Option<Value> {
        match serde_norway::from_str(&self.text()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("is not YAML: {error}"));
                None
            }
        }
    }

    /// Notes a list that is too long.
    pub(super) fn at_most(&self, most: usize) {
        let entries = self.items().len();
        if entries > most {
            self.problem(format!("has {entries} entries; at most {most}"));
        }
    }

    pub(super) fn required_text(&self) -> Option<String> {
        if !self.present() {
            self.problem("is missing");
        }
        self.text()
    }

    /// Text that is `true` or `false`, which is also meant when it is absent.
    pub(super) fn switch(&self) -> bool {
        match self.text().as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let other = other.escape_debug();
                self.problem(format!("`{other}` is neither \"true\" nor \"false\""));
                false
            }
        }
    }

    /// Text that parses as `T`.
    pub(super) fn parsed<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text()?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("`{text}` {error}"));
                None
            }
        }
    }

    /// A whole number of at least `least`, or the default.
    pub(super) fn number(&self, least: u32, default: u32) -> u32 {
        match self.value {
            None | Some(Value::Null) => default,
            Some(value) => value
                .as_u64()
                .and_then(|number| i32::try_from(number).ok())
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| *number >= least)
                .unwrap_or_else(|| {
                    self.problem(format!(
                        "`{}` is not a whole number of at least {least}",
                        show(value)
                    ));
                    default
                }),
        }
    }

    /// A port number.
    pub(super) fn port(&self) -> Option<u16> {
        let value = self.value.filter(|value| !value.is_null());
        let Some(value) = value else {
            self.problem("is missing; write a port from 1 to 65535");
            return None;
        };
        let port = value
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0);
        if port.is_none() {
            self.problem(format!(
                "`{}` is not a port; write a number from 1 to 65535",
                show(value)
            ));
        }
        port
    }

    /// Whether the value is text, for fields that take a number or a name.
    pub(super) fn is_text(&self) -> bool {
        self.value.is_some_and(Value::is_string)
    }

    /// A mapping of text to text, such as labels.
    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        match self.value {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Mapping(mapping)) => mapping
                .keys()
                .filter_map(|key| match key {
                    Value::String(key) => {
                        let value = self.field(key);
                        if !value.present() {
                            value.problem("has no value; write \"\" for an empty one");
                        }
                        value.text().map(|value| (key.clone(), value))
                    }
                    other => {
                        self.problem(format!(
                            "key `{}` is not text; put it in quotes",
                            show(other)
                        ));
                        None
                    }
                })
                .collect(),
            Some(_) => {
                self.once("is not a mapping of text to text");
                BTreeMap::new()
            }
        }
    }

    /// Notes a problem of shape once, however many fields are asked for.
    fn once(&self, message: &str) {
        let known = self
            .problems
            .0
            .borrow()
            .iter()
            .any(|(path, text)| *path == self.path && text == message);
        if !known {
            self.problem(message);
        }
    }
}

fn show(value: &Value) -> String {
    serde_norway::to_string(value).map_or_else(
        |_| "…".to_owned(),
        |text| {
            let line = text.trim().replace('\n', " ");
            line.chars().take(40).collect()
        },
    )
}
