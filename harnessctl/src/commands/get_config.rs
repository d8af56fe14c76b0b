//! `harnessctl get-config`: each key, the value that holds, and where it comes from.

use linkerd_harness_core::config::{self, Config, Fallback, Setting, Source};
use serde_json::{Map, Value, json};

use crate::commands::printable;
use crate::failure::Outcome;
use crate::file;
use crate::flags::Options;
use crate::output::{self, Form};

pub(crate) fn run(options: &Options) -> Outcome {
    let bytes = file::read(&options.config)?;
    if bytes.is_none() && !options.quiet {
        output::talk(format_args!(
            "note: {} does not exist",
            options.config.display()
        ));
    }
    let bytes = bytes.unwrap_or_default();
    let text = config::text(&bytes)?;
    let settings = config::settings(text)?;
    match options.form {
        Form::Text => output::data(&table(&settings))?,
        Form::Json => output::data(&format!("{:#}\n", object(&settings)))?,
    }
    Config::parse(text)?;
    Ok(())
}

fn table(settings: &[Setting]) -> String {
    let rows: Vec<_> = settings.iter().map(row).collect();
    let keys = rows.iter().map(|(key, ..)| key.len()).max();
    let values = rows.iter().map(|(_, value, _)| value.chars().count()).max();
    let (keys, values) = (keys.unwrap_or_default(), values.unwrap_or_default());
    let line = |(key, value, source): &(_, String, _)| {
        format!("{key:<keys$}  {value:<values$}  {source}\n")
    };
    rows.iter().map(line).collect::<Vec<_>>().concat()
}

fn row(setting: &Setting) -> (&'static str, String, &'static str) {
    let value = match setting.value.as_str() {
        "" => "-".to_owned(),
        value => printable(value),
    };
    (setting.key.path, value, setting.source.as_str())
}

fn object(settings: &[Setting]) -> Value {
    let entry = |setting: &Setting| {
        let found_out = matches!(setting.key.fallback, Fallback::Computed(_));
        let unknown =
            setting.source == Source::Missing || (found_out && setting.source == Source::Default);
        let value = (!unknown).then_some(&setting.value);
        let entry = json!({ "value": value, "source": setting.source.as_str() });
        (setting.key.path.to_owned(), entry)
    };
    Value::Object(settings.iter().map(entry).collect::<Map<_, _>>())
}
