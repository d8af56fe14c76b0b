//! `crds/externalgroups.yaml`, its copy in the chart (Helm reads nothing outside of it) and the table in
//! `docs/externalgroup.md` say what the types say.
//! `UPDATE_GOLDEN=1 cargo test` writes them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn golden(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(file).unwrap_or_default(),
        text,
        "{} is out of date: UPDATE_GOLDEN=1 cargo test -p autoregistration",
        file.display()
    );
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_definition_in_the_tree_is_that_of_the_types() {
    let text = super::yaml().unwrap();
    golden(&tree("crds/externalgroups.yaml"), &text);
    let in_the_chart = "../charts/linkerd-autoregistration/files/externalgroups.yaml";
    golden(&tree(in_the_chart), &text);
}

#[test]
fn the_table_of_fields_is_that_of_the_types() {
    const BEGIN: &str = "cargo test -p autoregistration -->\n";
    const END: &str = "<!-- end -->";
    let file = tree("../docs/externalgroup.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let definition = serde_json::to_value(super::external_group()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut table = "\n| Field | | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    rows(&mut table, "spec", &schema["properties"]["spec"]);
    golden(&file, &format!("{before}{BEGIN}{table}\n{END}{after}"));
}

fn rows(table: &mut String, path: &str, schema: &Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&Value::from(name.as_str())) => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let meaning = field["description"].as_str().unwrap_or_default();
        assert!(!meaning.is_empty(), "{path} says nothing of itself");
        writeln!(
            table,
            "| `{path}` | {} | {default} | {} |",
            kind(field),
            meaning.replace('\n', " ")
        )
        .unwrap();
        let list = if field["type"] == "array" { "[]" } else { "" };
        // The second place of the probes has no table of its own.
        if path != "spec.template.probes" {
            let inner = if list.is_empty() {
                field
            } else {
                &field["items"]
            };
            rows(table, &format!("{path}{list}"), inner);
        }
    }
}

fn kind(field: &Value) -> String {
    let number = |name: &str| field[name].as_f64();
    let at_most = |name: &str| field[name].as_u64().map(|most| format!(", at most {most}"));
    if field["x-kubernetes-int-or-string"] == true {
        return "number or name".to_owned();
    }
    if let Some(values) = field["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str);
        return values
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    match field["type"].as_str().unwrap_or_default() {
        "array" => format!("list{}", at_most("maxItems").unwrap_or_default()),
        "string" => format!("text{}", at_most("maxLength").unwrap_or_default()),
        "integer" => match (number("minimum"), number("maximum")) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            _ => "number".to_owned(),
        },
        "object" if field["additionalProperties"].is_object() => {
            format!(
                "text to text{}",
                at_most("maxProperties").unwrap_or_default()
            )
        }
        _ => String::new(),
    }
}
