//! Whatever happens.

use kube::runtime::watcher::Event;
use proptest::prelude::*;

use super::fixture::gone;
use super::*;

#[derive(Clone, Debug)]
enum Happening {
    Wish(u8, Desired),
    Call(u8),
    Hear,
    Delete(u8),
    Edit(u8),
    Relist,
    Pass(u16),
}

fn happenings() -> impl Strategy<Value = Happening> {
    let wish = prop_oneof![
        4 => (1_u8..4, any::<bool>()).prop_map(|(last, good)| {
            present(at(last), if good { healthy() } else { failed() })
        }),
        1 => Just(gone()),
    ];
    prop_oneof![
        3 => (0_u8..3, wish).prop_map(|(who, wish)| Happening::Wish(who, wish)),
        6 => (0_u8..8).prop_map(Happening::Call),
        2 => Just(Happening::Hear),
        1 => (0_u8..3).prop_map(Happening::Delete),
        1 => (0_u8..3).prop_map(Happening::Edit),
        1 => Just(Happening::Relist),
        2 => (0_u16..3000).prop_map(Happening::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_last_wishes_come_true_and_then_it_is_quiet(
        all in prop::collection::vec(happenings(), 0..60),
    ) {
        let mut bench = Bench::new();
        let mut last = BTreeMap::new();
        for happening in all {
            bench.list_slices();
            match happening {
                Happening::Wish(who, desired) => {
                    bench.wish(&who.to_string(), desired.clone());
                    last.insert(who, desired);
                }
                Happening::Call(how) => if let Some(call) = bench.call() {
                    let answer = match how {
                        0 => Answer::Unavailable("away".to_owned(), None),
                        1 => Answer::Failed("a fault".to_owned()),
                        2 => {
                            // It is done, and the answer is lost.
                            bench.carry_out(&call);
                            Answer::Unavailable("cut off".to_owned(), None)
                        }
                        3 => Answer::Refused("no".to_owned()),
                        _ => bench.carry_out(&call),
                    };
                    bench.answer(&call, answer);
                },
                Happening::Hear => bench.hear(),
                Happening::Delete(who) => if let Some(mut object) = bench.objects.remove(&key(&who.to_string())) {
                    bench.revision += 1;
                    object["metadata"]["resourceVersion"] = json!(bench.revision.to_string());
                    bench.events.push(Event::Delete(serde_json::from_value(object).unwrap()));
                },
                Happening::Edit(who) => {
                    bench.revision += 1;
                    let revision = json!(bench.revision.to_string());
                    if let Some(object) = bench.objects.get_mut(&key(&who.to_string())) {
                        object["spec"]["workloadIPs"] = json!([{ "ip": "10.66.6.6" }]);
                        object["metadata"]["resourceVersion"] = revision;
                        let object = object.clone();
                        bench.events.push(Event::Apply(serde_json::from_value(object).unwrap()));
                    }
                }
                Happening::Relist => {
                    bench.events.clear();
                    bench.writer.watched(&Part::All, Event::Init, bench.now);
                    for object in bench.objects.clone().into_values() {
                        let object = serde_json::from_value(object).unwrap();
                        bench.writer.watched(&Part::All, Event::InitApply(object), bench.now);
                    }
                    bench.writer.watched(&Part::All, Event::InitDone, bench.now);
                }
                Happening::Pass(milliseconds) => bench.now += Duration::from_millis(milliseconds.into()),
            }
        }
        bench.settle();
        for (who, desired) in &last {
            prop_assert!(bench.is_so(&who.to_string(), desired), "{who} {desired:?} {:?}", bench.objects);
        }
        let writes = bench.writes;
        for (who, desired) in last {
            bench.wish(&who.to_string(), desired);
        }
        bench.settle();
        prop_assert_eq!(bench.writes, writes);
    }
}
