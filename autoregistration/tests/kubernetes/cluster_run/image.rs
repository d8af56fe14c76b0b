//! The program as a container of its image runs it: nobody's user, and a root file system that has nothing else and is
//! read-only.
//!
//! `AUTOREGISTRATION_BIN` names another program, such as the one of an image.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::mesh::OURS;
use super::{Mesh, Vm, replica};
use crate::cluster::DEADLINE;

/// As the image and the chart have it.
const USER: &str = "65532";
/// Where a pod finds its own access to the API server.
const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";
/// In a namespace of its mounts: `$1` is its root, the rest the program with its arguments. The kernel takes all
/// capabilities from who changes to a user that is not root.
const CONTAINER: &str = r#"
root=$1 user=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid,nodev "$root"
exec unshare --root="$root" --wd=/ --setgid="$user" --setuid="$user" -- "$@"
"#;

struct Container {
    process: Child,
    dir: TempDir,
}

fn program() -> PathBuf {
    let other = std::env::var_os("AUTOREGISTRATION_BIN");
    let built = || OsString::from(env!("CARGO_BIN_EXE_autoregistration"));
    other.unwrap_or_else(built).into()
}

/// What the program is linked to, which is nothing in the image.
async fn libraries(program: &Path) -> Vec<PathBuf> {
    let linked = Command::new("ldd").arg(program).output().await.unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    let words = linked.split_whitespace();
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn put(root: &Path, at: &str, file: &Path) {
    let to = root.join(at);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(file, to).unwrap();
}

// === impl Container ===

impl Container {
    /// Of a pod at this address, with its own access to the API server.
    async fn start(mesh: &Mesh, ip: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let program = program();
        put(&root, "autoregistration", &program);
        for library in libraries(&program).await {
            put(
                &root,
                library.to_str().unwrap().trim_start_matches('/'),
                &library,
            );
        }
        let text = fs::read_to_string(&mesh.kubeconfig).unwrap();
        let access: serde_json::Value = serde_norway::from_str(&text).unwrap();
        let word = |pointer| access.pointer(pointer).unwrap().as_str().unwrap();
        let ca = word("/clusters/0/cluster/certificate-authority");
        put(&root, &format!("{ACCOUNT}/ca.crt"), Path::new(ca));
        fs::write(
            root.join(ACCOUNT).join("token"),
            word("/users/0/user/token"),
        )
        .unwrap();
        fs::write(root.join(ACCOUNT).join("namespace"), OURS).unwrap();
        let (_, port) = word("/clusters/0/cluster/server").rsplit_once(':').unwrap();

        let log = File::create(dir.path().join("log")).unwrap();
        let process = Command::new("setpriv")
            .args(["--no-new-privs", "unshare", "--mount", "--"])
            .args(["sh", "-euc", CONTAINER, "sh"])
            .arg(&root)
            .args([USER, "/autoregistration", "--identity=sidecar"])
            .arg(format!("--registration-listen={ip}:8081"))
            .arg(format!("--peer-listen={ip}:8082"))
            .arg(format!("--admin-listen={ip}:9990"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", port)
            .env("POD_NAMESPACE", OURS)
            .env("POD_NAME", "replica-1")
            .env("POD_IPS", ip)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, dir }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    async fn is_ready(&mut self, admin: SocketAddr) {
        let waiting = async {
            loop {
                let ended = self.process.try_wait().unwrap();
                assert_eq!(ended, None, "it has ended:\n{}", self.log());
                let listens = TcpStream::connect(admin).await.is_ok();
                if listens
                    && replica::get(admin, "/ready")
                        .await
                        .starts_with("HTTP/1.1 200")
                {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let ready = timeout(DEADLINE, waiting).await;
        assert!(ready.is_ok(), "not ready in time:\n{}", self.log());
    }

    /// As a node's agent ends it.
    async fn ends_well(&mut self) {
        let pid = self.process.id().unwrap().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(killed.unwrap().success());
        let ended = timeout(DEADLINE, self.process.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{}", self.log());
    }

    /// What the kernel says of it.
    fn is_locked_in(&self) {
        let proc = PathBuf::from(format!("/proc/{}", self.process.id().unwrap()));
        let read = |name| fs::read_to_string(proc.join(name)).unwrap();
        let (status, mounts) = (read("status"), read("mountinfo"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(field("Name:"), ["autoregistratio"]);
        for ids in ["Uid:", "Gid:"] {
            assert_eq!(field(ids), [USER; 4]);
        }
        assert_eq!(field("Groups:"), [""; 0]);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(field("NoNewPrivs:"), ["1"]);
        // Only what it can reach is listed.
        let mounts = mounts.lines().map(|line| {
            let fields = line.split(' ').collect::<Vec<_>>();
            (fields[4], fields[5].split(',').next().unwrap())
        });
        assert_eq!(mounts.collect::<Vec<_>>(), [("/", "ro")]);
    }
}

#[tokio::test]
async fn it_lets_vms_in_as_nobody_on_a_root_that_has_nothing_else_and_is_read_only() {
    let mesh = Mesh::start().await;
    let ip = mesh.ip(1);
    let mut container = Container::start(&mesh, &ip.to_string()).await;
    container.is_ready((ip, 9990).into()).await;
    container.is_locked_in();
    let (session, workload) = Vm::new(1).join_well((ip, 8081).into()).await;
    mesh.is_ready(&workload, "True").await;
    drop(session);
    container.ends_well().await;
}
