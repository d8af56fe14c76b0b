//! What is ours in a table that iptables cannot read, for `nft` to take out.
//!
//! One rule of another form in table `nat`, made with nft, and iptables reads nothing of that table any more. Ours, made
//! before, still redirect.

use linkerd_harness_core::redirect::{Chain, Family};

/// The table, as nft calls it.
pub(super) fn table(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip nat",
        Family::V6 => "ip6 nat",
    }
}

/// The text after which nothing is redirected any more; `listing` is the table with handles (`nft -a list table`). `None`
/// when no rule leads into a chain of ours.
pub(super) fn withdrawal(table: &str, listing: &str) -> Option<String> {
    let mut text = String::new();
    text.extend(
        jumps(listing)
            .map(|(chain, handle)| format!("delete rule {table} {chain} handle {handle}\n")),
    );
    (!text.is_empty()).then_some(text)
}

/// The text that takes everything of ours out. `None` when nothing of ours is there.
pub(super) fn removal(table: &str, listing: &str) -> Option<String> {
    let mut text = withdrawal(table, listing).unwrap_or_default();
    let chains = || chains(listing).filter(|chain| is_ours(chain));
    // All are emptied before one is deleted, for one might lead to the other.
    for word in ["flush", "delete"] {
        text.extend(chains().map(|chain| format!("{word} chain {table} {chain}\n")));
    }
    (!text.is_empty()).then_some(text)
}

fn chains(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().filter_map(chain)
}

fn chain(line: &str) -> Option<&str> {
    let (name, _) = line.trim().strip_prefix("chain ")?.split_once(" {")?;
    Some(name)
}

/// The rules that lead into a chain of ours: in which chain, and their handles.
fn jumps(listing: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut within = "";
    listing.lines().filter_map(move |line| {
        if let Some(chain) = chain(line) {
            within = chain;
            return None;
        }
        let (rule, handle) = line.rsplit_once(" # handle ")?;
        // The verdict is last but for a comment, which may say anything.
        let rule = if rule.ends_with('"') {
            rule.rsplit_once(" comment \"")?.0
        } else {
            rule
        };
        let (rule, target) = rule.trim_end().rsplit_once(' ')?;
        let leads = rule.ends_with("jump") || rule.ends_with("goto");
        (leads && is_ours(target)).then_some((within, handle))
    })
}

fn is_ours(chain: &str) -> bool {
    Chain::ALL.iter().any(|ours| ours.to_string() == chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table ip nat { # handle 1
\tchain PROXY_INIT_REDIRECT { # handle 1
\t\tip protocol tcp counter packets 0 bytes 0 redirect to :4143 # handle 9
\t}

\tchain PREROUTING { # handle 3
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\t counter packets 0 bytes 0 jump PROXY_INIT_REDIRECT # handle 4
\t\ttcp dport { 80, 443 } redirect to :8080 comment \"not jump PROXY_INIT_REDIRECT\" # handle 7
\t\ttcp dport 9 goto PROXY_INIT_REDIRECT comment \"with # handle 1\" # handle 8
\t\tjump PROXY_INIT_REDIRECT_OF_MINE # handle 11
\t}
}
";

    #[test]
    fn only_what_leads_into_our_chains_goes() {
        let jumps =
            "delete rule ip nat PREROUTING handle 4\ndelete rule ip nat PREROUTING handle 8\n";
        assert_eq!(withdrawal("ip nat", LISTING).as_deref(), Some(jumps));
        let all = format!(
            "{jumps}flush chain ip nat PROXY_INIT_REDIRECT\ndelete chain ip nat PROXY_INIT_REDIRECT\n"
        );
        assert_eq!(removal("ip nat", LISTING), Some(all));
        let theirs =
            "table ip nat {\n\tchain MINE { # handle 1\n\t\tjump OTHER # handle 2\n\t}\n}\n";
        assert_eq!(removal("ip nat", theirs), None);
    }
}
