//! The whole lab: two VMs, the cluster's services, a host without the mesh, and the network between them.

use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::control::Control;
use crate::net::{self, Namespace, Net};
use crate::pki::Pki;
use crate::products::Products;
use crate::run::Run;
use crate::vm::{Plan, Vm};
use crate::{rootfs, screen, spire};

/// Unit of the application in the peer, which has no Docker.
const APP_UNIT: &str = "[Unit]
Description=Simple App v1
[Service]
ExecStart=/opt/lab/bin/echo 80 'Simple App v1'
DynamicUser=yes
AmbientCapabilities=CAP_NET_BIND_SERVICE
[Install]
WantedBy=multi-user.target
";

/// A lab that is up. Fields are dropped in this order: the [`Run`] last, which removes all that is left.
#[derive(Debug)]
pub struct Lab {
    /// The user's VM: Docker runs in it, and its workload is a container.
    pub vm: Vm,
    /// The second meshed host, which plays the cluster's side.
    pub peer: Vm,
    /// A host without the mesh.
    pub outsider: Namespace,
    /// Autoregistration and DNS.
    pub control: Control,
    /// The network.
    pub net: Net,
    /// What is tried.
    pub products: Products,
    /// Name, directory, end.
    pub run: Run,
}

impl Lab {
    /// Builds what is missing, boots both VMs, starts the cluster's services. Nothing of ours is installed yet.
    /// `program` is the `lab` binary.
    pub fn start(program: &Path) -> Result<Self> {
        Self::start_with(program, Control::start)
    }

    /// The same with autoregistration in a cluster, as far as it is there: see [`crate::cluster`].
    pub fn start_in_cluster(program: &Path) -> Result<Self> {
        Self::start_with(program, Control::start_in_cluster)
    }

    fn start_with(
        program: &Path,
        control: impl FnOnce(&Run, &Net, &Pki, &Products) -> Result<Control>,
    ) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the lab makes namespaces and boots VMs: run it as root"
        );
        let products = Products::build()?;
        let spire = spire::Binaries::find()?;
        let image = rootfs::prepare()?;
        let run = Run::start(program)?;
        let pki = Pki::make(&run.dir().join("pki"))?;
        let net = Net::make(&run)?;
        let outsider = net.namespace("outsider", net::OUTSIDER)?;
        let control = control(&run, &net, &pki, &products)?;
        let mut shared = spire.shared();
        shared.push((products.echo.clone(), "/opt/lab/bin/echo".to_owned()));
        shared.push((
            products.proxy.path().to_owned(),
            "/opt/lab/bin/linkerd2-proxy".to_owned(),
        ));
        let plan = Plan {
            name: "training-vm",
            address: net::TRAINING_VM,
            docker: true,
            shared,
        };
        let mut vm = Vm::make(&run, &image, &plan)?;
        let plan = Plan {
            name: "simple-app",
            address: net::PEER,
            docker: false,
            ..plan
        };
        let mut peer = Vm::make(&run, &image, &plan)?;
        for host in [&vm, &peer] {
            spire::install(host, &pki)?;
            host.copy(
                &products.package,
                &format!("root/{}", package_name(&products)?),
            )?;
        }
        peer.write("etc/systemd/system/simple-app.service", APP_UNIT)?;
        peer.enable(&["simple-app.service"])?;
        screen::working("booting two VMs", || {
            thread::scope(|scope| {
                let other = scope.spawn(|| peer.boot(&net));
                let booted = vm.boot(&net).map(|_| ());
                let other = other
                    .join()
                    .map_err(|_panic| anyhow!("the thread that boots a VM panicked"))?
                    .map(|_| ());
                booted.and(other)
            })
        })?;
        Ok(Self {
            vm,
            peer,
            outsider,
            control,
            net,
            products,
            run,
        })
    }

    /// File name of the package, as it lies in each VM's `/root`.
    pub fn package_name(&self) -> Result<String> {
        package_name(&self.products)
    }

    /// What helps to understand a failure.
    pub fn report(&self) -> String {
        format!(
            "{}\n{}\n{}",
            self.vm.report(),
            self.peer.report(),
            self.control.report()
        )
    }

    /// Leaves it up after the end of this process.
    pub fn keep(self) -> Result<()> {
        let Self {
            vm,
            peer,
            control,
            run,
            ..
        } = self;
        // Their drops would end them.
        std::mem::forget((vm, peer, control));
        run.keep()
    }
}

fn package_name(products: &Products) -> Result<String> {
    let name = products
        .package
        .file_name()
        .context("the package has no name")?;
    Ok(name.to_string_lossy().into_owned())
}
