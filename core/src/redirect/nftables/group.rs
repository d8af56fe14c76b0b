//! The rules of a chain, both families in one list, and those that differ in one value only made one.
//!
//! They are made from the rules of iptables, so that every backend asks the same questions in the same order.

use std::fmt;
use std::mem::{Discriminant, discriminant};

use ipnet::IpNet;

use super::set::Set;
use crate::redirect::plan::Plan;
use crate::redirect::ports::Multiport;
use crate::redirect::purpose::Purpose;
use crate::redirect::rule::{Chain, Family, Match, Rule, Target};
use crate::redirect::rules::rules;

/// A comment's limit, `NFTNL_UDATA_COMMENT_MAXLEN`.
const COMMENT: usize = 128;

/// Rules of one purpose that differ in their ports or in their network only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// `None`: for both.
    family: Option<Family>,
    /// What they have in common, in the words of the first.
    first: Rule,
    /// The first one's ports or network, as its comment has them.
    subject: String,
    values: Values,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    None,
    Ports(Multiport),
    Nets(Vec<IpNet>),
}

/// The rules of a chain, in the order in which the kernel asks them.
pub(super) fn groups(plan: &Plan, chain: Chain) -> Vec<Group> {
    let of = |family| grouped(rules(plan, family, chain), family);
    match plan.families() {
        [family] => {
            // Only one family gets into the chain at all.
            let both = |group| Group {
                family: None,
                ..group
            };
            of(*family).into_iter().map(both).collect()
        }
        _ => merged(of(Family::V4), of(Family::V6)),
    }
}

fn grouped(rules: Vec<Rule>, family: Family) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for rule in rules {
        let group = Group {
            family: Some(family),
            subject: Values::of(&rule).to_string(),
            values: Values::of(&rule),
            first: rule,
        };
        let joined = groups.last_mut().is_some_and(|last| last.join(&group));
        if !joined {
            groups.push(group);
        }
    }
    groups
}

/// Both lists in one: what is the same in both once, and the order of each kept.
fn merged(v4: Vec<Group>, v6: Vec<Group>) -> Vec<Group> {
    let mut all = Vec::new();
    let mut v6 = v6.into_iter().peekable();
    let kinds: Vec<_> = v4.iter().map(Group::kind).collect();
    for (at, group) in v4.into_iter().enumerate() {
        let later = kinds.get(at..).unwrap_or_default();
        while let Some(before) = v6.next_if(|other| !later.contains(&other.kind())) {
            all.push(before);
        }
        let same = v6.next_if(|other| other.first == group.first && other.values == group.values);
        all.push(Group {
            family: if same.is_some() { None } else { group.family },
            ..group
        });
    }
    all.extend(v6);
    all
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Ports(ports) => write!(f, "{ports}"),
            Self::Nets(nets) => {
                let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
                f.write_str(&nets.join(","))
            }
        }
    }
}

impl Values {
    fn of(rule: &Rule) -> Self {
        let net = rule.matches.iter().find_map(|part| match part {
            Match::Source(net) | Match::Destination(net) => Some(Self::Nets(vec![*net])),
            _ => None,
        });
        let ports = rule.matches.iter().find_map(|part| match part {
            Match::DestinationPorts(ports) => Some(Self::Ports(ports.clone())),
            _ => None,
        });
        net.or(ports).unwrap_or(Self::None)
    }
}

impl Group {
    fn kind(&self) -> Discriminant<Purpose> {
        discriminant(&self.first.purpose)
    }

    /// Takes the other's values in, when that is all that tells the two apart.
    fn join(&mut self, other: &Self) -> bool {
        let fixed = |group: &Self| -> Vec<Match> {
            let mut matches = group.first.matches.clone();
            for part in &mut matches {
                match (&group.values, &mut *part) {
                    (Values::Nets(_), Match::Source(net) | Match::Destination(net)) => {
                        *net = IpNet::default();
                    }
                    (Values::Ports(_), Match::DestinationPorts(_)) => *part = Match::Tcp,
                    _ => {}
                }
            }
            matches
        };
        if self.kind() != other.kind()
            || self.first.target != other.first.target
            || fixed(self) != fixed(other)
        {
            return false;
        }
        match (&mut self.values, &other.values) {
            (Values::Nets(nets), Values::Nets(more)) => nets.extend(more),
            (Values::Ports(ports), Values::Ports(more)) => ports.extend(more),
            _ => return false,
        }
        true
    }

    /// The rule, and the set that it needs, if any.
    pub(super) fn render(&self) -> (String, Option<Set>) {
        let (kind, elements) = match &self.values {
            Values::None => ("", vec![]),
            Values::Ports(ports) => ("inet_service", ports.ranges()),
            Values::Nets(nets) => {
                let v4 = nets.iter().all(|net| Family::V4.has(net));
                let kind = if v4 { "ipv4_addr" } else { "ipv6_addr" };
                (kind, nets.iter().copied().map(element).collect())
            }
        };
        let purpose = self.first.purpose.to_string();
        let with = |subject: &str| match self.subject.as_str() {
            "" => purpose.clone(),
            first => purpose.replace(first, subject),
        };
        let set = (elements.len() > 1).then(|| {
            let stem = with("");
            let stem = Purpose::in_comment(&stem).unwrap_or(&stem);
            let words: Vec<&str> = stem.split('-').filter(|word| !word.is_empty()).collect();
            Set::named_after_content(&words.join("_"), kind, elements.clone())
        });
        let value = match &set {
            Some(set) => format!("@{}", set.name),
            None => elements.into_iter().next().unwrap_or_default(),
        };
        let comment =
            Some(with(&self.values.to_string())).filter(|comment| comment.len() <= COMMENT);
        let comment = comment.unwrap_or_else(|| with(&value));
        (self.text(&value, &comment), set)
    }

    fn text(&self, value: &str, comment: &str) -> String {
        let addressed = matches!(self.values, Values::Nets(_));
        let mut words: Vec<String> = Vec::new();
        words.extend(self.family.filter(|_| !addressed).map(only));
        words.extend(matches(&self.first.matches, value));
        words.push("counter".to_owned());
        words.push(verdict(self.first.target));
        words.push(format!("comment \"{comment}\""));
        words.join(" ")
    }
}

/// The rule that brings traffic into a chain of ours, of one family or of both.
pub(super) fn jump(rule: &Rule, family: Option<Family>) -> String {
    let group = Group {
        family,
        first: rule.clone(),
        subject: String::new(),
        values: Values::None,
    };
    group.text("", &rule.purpose.to_string())
}

fn only(family: Family) -> String {
    match family {
        Family::V4 => "meta nfproto ipv4".to_owned(),
        Family::V6 => "meta nfproto ipv6".to_owned(),
    }
}

fn matches(matches: &[Match], value: &str) -> Vec<String> {
    let by_port =
        |part: &Match| matches!(part, Match::DestinationPort(_) | Match::DestinationPorts(_));
    let has_port = matches.iter().any(by_port);
    let address = |net: &IpNet, which: &str| {
        let family = if Family::V4.has(net) { "ip" } else { "ip6" };
        format!("{family} {which} {value}")
    };
    let part = |part: &Match| match part {
        Match::Source(net) => Some(address(net, "saddr")),
        Match::Destination(net) => Some(address(net, "daddr")),
        Match::OutLoopback => Some("oifname \"lo\"".to_owned()),
        // A port is one of TCP.
        Match::Tcp => (!has_port).then(|| "meta l4proto tcp".to_owned()),
        Match::Owner(uid) => Some(format!("meta skuid {uid}")),
        Match::LocalDestination => Some("fib daddr type local".to_owned()),
        Match::DestinationPort(port) => Some(format!("tcp dport {port}")),
        Match::DestinationPorts(_) => Some(format!("tcp dport {value}")),
    };
    matches.iter().filter_map(part).collect()
}

fn verdict(target: Target) -> String {
    match target {
        Target::Return => "return".to_owned(),
        Target::RedirectTo(port) => format!("redirect to :{port}"),
        Target::Jump(chain) => format!("jump {}", super::name(chain)),
    }
}

/// As `nft` prints it: a host without its prefix.
fn element(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}
