//! What was measured, as a table of Markdown: a row for each thing, a column for each number of sessions.

use std::fmt::Write as _;
use std::time::Duration;

use crate::measure::Measured;

type Row = (&'static str, fn(&Measured) -> String);

const ROWS: [Row; 16] = [
    ("all ready, s", |it| format!("{:.1}", it.join.as_secs_f64())),
    ("Hello to assignment, p50 and p99, s", |it| {
        let [half, most] = it.assigned.map(|it| it.as_secs_f64());
        format!("{half:.2}, {most:.2}")
    }),
    ("writes while joining", |it| it.join_writes.to_string()),
    ("writes a second", |it| {
        #[expect(clippy::cast_precision_loss, reason = "some ten thousand")]
        let writes = it.join_writes as f64;
        format!("{:.0}", writes / it.join.as_secs_f64())
    }),
    ("Hellos told to come again", |it| it.come_again.to_string()),
    ("CPU while joining, % of one", |it| {
        format!("{:.0}", it.join_cpu)
    }),
    ("memory of the idle replica, MiB", |it| {
        format!("{:.1}", it.idle / 1024.0)
    }),
    ("memory a session: joined, later, KiB", |it| {
        format!("{:.1}, {:.1}", it.resident[0], it.resident[1])
    }),
    ("memory a workload without session, KiB", |it| {
        format!("{:.1}", it.known)
    }),
    ("CPU in steady state, % of one", |it| {
        format!("{:.1}", it.steady_cpu)
    }),
    ("heartbeats meanwhile", |it| it.heartbeats.to_string()),
    ("writes meanwhile, objects changed", |it| {
        pair(it.steady_writes)
    }),
    ("flip to ack alone: p50, p99, ms", |it| {
        let it = &it.flips_alone;
        format!("{}, {}", millis(it.permille(500)), millis(it.permille(990)))
    }),
    ("flip to ack of all at once: p50, p99, ms", |it| {
        let it = &it.flips_at_once;
        format!("{}, {}", millis(it.permille(500)), millis(it.permille(990)))
    }),
    ("rolling restart, s", |it| {
        format!("{:.1}", it.restart.as_secs_f64())
    }),
    ("writes by it, objects changed", |it| {
        pair(it.restart_writes)
    }),
];

pub(crate) fn table(all: &[Measured]) -> String {
    let mut text = String::from("| sessions |");
    let line = |text: &mut String, cells: Vec<String>| {
        for cell in cells {
            // Writing to a String cannot fail.
            let _infallible = write!(text, " {cell} |");
        }
    };
    line(
        &mut text,
        all.iter().map(|it| it.sessions.to_string()).collect(),
    );
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(all.len()));
    for (name, cell) in ROWS {
        let _infallible = write!(text, "\n| {name} |");
        line(&mut text, all.iter().map(cell).collect());
    }
    text
}

fn pair((counted, seen): (u64, usize)) -> String {
    format!("{counted}, {seen}")
}

fn millis(it: Duration) -> String {
    format!("{:.1}", it.as_secs_f64() * 1e3)
}
