//! Counters and gauges in the text format of Prometheus, under the real proxy's names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// A metric's kind and its value under each set of labels.
type Family = (Kind, BTreeMap<String, f64>);

/// All metrics of the process.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<&'static str, Family>>);

impl Metrics {
    /// Adds one to a counter.
    pub(crate) fn count(&self, name: &'static str, labels: &str) {
        self.add(name, Kind::Counter, labels, 1.0);
    }

    /// Makes a counter visible before it has counted.
    pub(crate) fn zero(&self, name: &'static str, labels: &str) {
        self.add(name, Kind::Counter, labels, 0.0);
    }

    /// Moves a gauge.
    pub(crate) fn shift(&self, name: &'static str, labels: &str, by: f64) {
        self.add(name, Kind::Gauge, labels, by);
    }

    pub(crate) fn set(&self, name: &'static str, labels: &str, value: f64) {
        self.with(name, Kind::Gauge, labels, |old| *old = value);
    }

    fn add(&self, name: &'static str, kind: Kind, labels: &str, by: f64) {
        self.with(name, kind, labels, |value| *value += by);
    }

    fn with(&self, name: &'static str, kind: Kind, labels: &str, change: impl FnOnce(&mut f64)) {
        let mut families = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_, values) = families
            .entry(name)
            .or_insert_with(|| (kind, BTreeMap::new()));
        match values.get_mut(labels) {
            Some(value) => change(value),
            None => change(values.entry(labels.to_owned()).or_default()),
        }
    }

    pub(crate) fn render(&self) -> String {
        let families = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = String::new();
        for (name, (kind, values)) in families.iter() {
            let kind = if *kind == Kind::Counter {
                "counter"
            } else {
                "gauge"
            };
            render_into(
                &mut out,
                format_args!("# TYPE {} {kind}\n", name.trim_end_matches("_total")),
            );
            for (labels, value) in values {
                let value = shown(name, *value);
                if labels.is_empty() {
                    render_into(&mut out, format_args!("{name} {value}\n"));
                } else {
                    render_into(&mut out, format_args!("{name}{{{labels}}} {value}\n"));
                }
            }
        }
        out.push_str("# EOF\n");
        out
    }
}

/// Times have a fraction and counts have none, as the real proxy writes them.
fn shown(name: &str, value: f64) -> String {
    if name.ends_with("_seconds") {
        format!("{value:?}")
    } else {
        value.to_string()
    }
}

fn render_into(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing into a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_with_and_without_labels() {
        let metrics = Metrics::default();
        metrics.zero("control_identity_cert_refreshes_total", r#"result="error""#);
        metrics.count("control_identity_cert_refreshes_total", r#"result="ok""#);
        metrics.set(
            "control_identity_cert_expiration_timestamp_seconds",
            "",
            1_800_000_000.0,
        );
        let text = metrics.render();
        for line in [
            "# TYPE control_identity_cert_refreshes counter\n",
            "control_identity_cert_refreshes_total{result=\"ok\"} 1\n",
            "control_identity_cert_refreshes_total{result=\"error\"} 0\n",
            "control_identity_cert_expiration_timestamp_seconds 1800000000.0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
