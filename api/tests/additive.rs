//! v1 of the protocol only grows: `proto/registration.golden` lists everything that it ever had, and all of it is still
//! there as it was. `UPDATE_GOLDEN=1 cargo test -p linkerd-harness-api` adds what is new, and never takes away.

use std::collections::BTreeSet;
use std::path::Path;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    ServiceDescriptorProto,
};

const OURS: &str = "registration.proto";

#[test]
fn nothing_of_the_protocol_is_removed_renumbered_or_retyped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let compiled = protox::compile([OURS], [&root]).unwrap();
    let ours = compiled.file.iter().find(|file| file.name() == OURS);
    let now = listing(ours.unwrap());
    let golden = root.join("registration.golden");
    let text = std::fs::read_to_string(&golden).unwrap_or_default();
    let before = text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        before.difference(&now).collect::<Vec<_>>(),
        [""; 0],
        "older harnesses and controllers rely on these lines of {}: v1 only grows",
        golden.display()
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let lines = now.iter().flat_map(|line| [line.as_str(), "\n"]);
        std::fs::write(&golden, lines.collect::<String>()).unwrap();
        return;
    }
    assert_eq!(
        now.difference(&before).collect::<Vec<_>>(),
        [""; 0],
        "new in the protocol: UPDATE_GOLDEN=1 cargo test -p linkerd-harness-api"
    );
}

/// One line for each thing that a peer of another version relies on.
fn listing(file: &FileDescriptorProto) -> BTreeSet<String> {
    let package = file.package();
    let mut lines = BTreeSet::from([format!("package {package}, {}", file.syntax())]);
    for message in &file.message_type {
        list_message(package, message, &mut lines);
    }
    for values in &file.enum_type {
        list_enum(package, values, &mut lines);
    }
    for service in &file.service {
        list_service(package, service, &mut lines);
    }
    lines
}

fn list_message(scope: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    lines.insert(format!("message {name}"));
    for field in &message.field {
        let oneof = field
            .oneof_index
            .and_then(|index| message.oneof_decl.get(usize::try_from(index).unwrap()))
            .map_or_else(String::new, |oneof| format!(", one of {}", oneof.name()));
        lines.insert(format!(
            "field {name}.{} = {}: {}{}{oneof}",
            field.name(),
            field.number(),
            match field.label() {
                Label::Repeated => "repeated ",
                Label::Optional | Label::Required => "",
            },
            type_of(field),
        ));
    }
    for nested in &message.nested_type {
        list_message(&name, nested, lines);
    }
    for values in &message.enum_type {
        list_enum(&name, values, lines);
    }
}

/// Of messages and enums the name, `.package.Name`; else e.g. `uint32`.
fn type_of(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().to_owned(),
        scalar => {
            let name = scalar.as_str_name().trim_start_matches("TYPE_");
            name.to_ascii_lowercase()
        }
    }
}

fn list_enum(scope: &str, values: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &values.value {
        lines.insert(format!(
            "enum {scope}.{}: {} = {}",
            values.name(),
            value.name(),
            value.number()
        ));
    }
}

fn list_service(scope: &str, service: &ServiceDescriptorProto, lines: &mut BTreeSet<String>) {
    let stream = |streaming: bool| if streaming { "stream " } else { "" };
    for method in &service.method {
        lines.insert(format!(
            "rpc {scope}.{}/{}({}{}) returns ({}{})",
            service.name(),
            method.name(),
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type(),
        ));
    }
}
