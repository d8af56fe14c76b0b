use std::os::unix::fs::PermissionsExt;

use nix::unistd::getuid;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

/// A program that `sh` reads, in a directory that the user of the probe may enter.
struct Script(tempfile::TempDir);

fn mk_script(text: &str) -> Script {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let script = Script(dir);
    let file = script.path("check");
    let source = script.path("source");
    std::fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    // By another process: a child that another test makes meanwhile would have the file open for writing, and nobody can run
    // it then.
    let mut install = std::process::Command::new("install");
    let install = install.args(["--mode=755", &source, &file]).status();
    assert!(install.unwrap().success());
    script
}

/// Root gives way to another user, as a daemon that root starts does; others stay who they are.
fn mk_runner() -> Runner {
    let we = getuid();
    Runner::new(if we.is_root() { 65534 } else { we.as_raw() })
}

impl Script {
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    async fn run(&self, arguments: &[&str], limit: Duration) -> Result<String, String> {
        let words = [self.path("check")].into_iter();
        let words = words.chain(arguments.iter().map(|word| (*word).to_owned()));
        let mut runner = mk_runner();
        runner.check(&words.collect::<Vec<_>>(), limit).await
    }

    /// The number that the script left in a file.
    async fn pid(&self, name: &str) -> Pid {
        let file = self.path(name);
        until(&format!("`{file}` is written"), || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
        })
        .await;
        let text = std::fs::read_to_string(&file).unwrap();
        Pid::from_raw(text.trim().parse().unwrap())
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Gone, or dead and not waited for by whoever inherited it.
fn is_dead(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test]
async fn zero_passes_and_another_end_is_told_with_the_last_words() {
    let ok = mk_script("echo accepting connections").run(&[], LONG).await;
    assert_eq!(ok, Ok("success: accepting connections".to_owned()));
    let script = mk_script("echo one; echo two >&2; exit 3");
    let failed = script.run(&[], LONG).await;
    assert_eq!(failed, Err("exit status: 3: one; two".to_owned()));
    let killed = mk_script("kill -TERM $$").run(&[], LONG).await;
    assert!(killed.unwrap_err().contains("signal: 15"));
}

#[tokio::test]
async fn words_reach_the_program_as_they_are_and_no_shell_reads_them() {
    let script = mk_script(r#"printf '%s|' "$@""#);
    let got = script.run(&["a b", "", "$(id)", "; id"], LONG).await;
    assert_eq!(got, Ok("success: a b||$(id)|; id|".to_owned()));
}

#[tokio::test]
async fn nothing_of_ours_is_handed_down_but_a_fixed_path() {
    let script = mk_script(
        "exec > \"$1\"; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; pwd; readlink /proc/self/fd/0; \
         grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs)' /proc/self/status",
    );
    let file = script.path("seen");
    script.run(&[&file], LONG).await.unwrap();
    let seen = std::fs::read_to_string(&file).unwrap();
    let none = "0000000000000000";
    let expected = format!(
        "PATH={PATH}\n/\n/dev/null\n\
         CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\n"
    );
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn it_runs_as_the_proxys_user() {
    let runner = mk_runner();
    let got = mk_script("id -u").run(&[], LONG).await.unwrap();
    assert_eq!(got, format!("success: {}", runner.user_id));
}

#[tokio::test]
async fn at_the_timeout_the_program_dies_and_its_grandchild_with_it() {
    // The grandchild holds the output open and ignores what can be ignored.
    let script = mk_script(
        "(trap '' TERM HUP INT; echo $$ > \"$1\"; sh -c 'echo $$ > \"$0\"; exec sleep 1000' \"$2\") & echo waiting; wait",
    );
    let (parent, grandchild) = (script.path("parent"), script.path("grandchild"));
    let got = script.run(&[&parent, &grandchild], SECOND * 2).await;
    assert_eq!(got, Err("not ended in 2 s, killed: waiting".to_owned()));
    for name in ["parent", "grandchild"] {
        let pid = script.pid(name).await;
        until(&format!("{name} {pid} is dead"), || is_dead(pid)).await;
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_dies_with_its_end_and_is_not_waited_for() {
    let script = mk_script(
        "sh -c 'echo $$ > \"$0\"; exec sleep 1000' \"$1\" & while ! [ -s \"$1\" ]; do :; done; echo done",
    );
    let left = script.path("left");
    let got = script.run(&[&left], LONG).await;
    assert_eq!(got, Ok("success: done".to_owned()));
    let pid = script.pid("left").await;
    until(&format!("{pid} is dead"), || is_dead(pid)).await;
}

#[tokio::test]
async fn a_run_that_is_given_up_dies() {
    let script = mk_script("echo $$ > \"$1\"; exec sleep 1000");
    let file = script.path("pid");
    let arguments = [file.as_str()];
    let pid = tokio::select! {
        _ = script.run(&arguments, LONG) => panic!("it must not end"),
        pid = script.pid("pid") => pid,
    };
    until(&format!("{pid} is dead"), || is_dead(pid)).await;
}

#[tokio::test]
async fn much_output_passes_and_endless_output_does_not() {
    let much = mk_script("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end")
        .run(&[], LONG)
        .await
        .unwrap();
    assert!(much.ends_with("xxx; end") && much.len() < 200, "{much}");
    let endless = mk_script("exec yes").run(&[], LONG).await.unwrap_err();
    assert!(
        endless.starts_with("wrote more than 1024 KiB, killed"),
        "{endless}"
    );
}

#[tokio::test]
async fn what_cannot_be_run_is_told_in_words() {
    let script = mk_script("exit 0");
    let plain = script.path("plain");
    std::fs::write(&plain, "data").unwrap();
    for (program, expected) in [
        (script.path("none"), "cannot be run: there is no such file"),
        (script.path(""), "cannot be run: it is no file"),
        (plain, "cannot be run: it is not executable: chmod 755"),
    ] {
        let got = mk_runner().check(&[program], LONG).await;
        assert_eq!(got, Err(expected.to_owned()));
    }
}
