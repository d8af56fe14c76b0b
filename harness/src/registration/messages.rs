//! What is said to the controller.

use std::time::SystemTime;

use linkerd_harness_api::v1;
use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::health::{self, Health};
use linkerd_harness_core::labels::ZONE;

use super::Inputs;

pub(super) fn hello(
    inputs: &Inputs,
    stream_seq: u64,
    health: &Health,
    kept: Option<&Assignment>,
) -> v1::Hello {
    let config = &inputs.config;
    let ips = config.proxy.advertise.iter().map(ToString::to_string);
    let mut labels = config.labels.clone();
    let zone = labels.remove(ZONE).unwrap_or_default();
    v1::Hello {
        group: Some(v1::GroupRef {
            namespace: config.group.namespace.to_string(),
            name: config.group.name.to_string(),
        }),
        instance_id: inputs.instance.id.clone(),
        boot_id: inputs.instance.boot.clone(),
        session_id: inputs.instance.session.clone(),
        stream_seq,
        ips: ips.collect(),
        proxy_inbound_port: config.proxy.inbound_listen.port().into(),
        zone,
        labels: labels.into_iter().collect(),
        health: Some(report(1, health)),
        resume: kept.map(|kept| v1::Resume {
            workload_name: kept.workload.name.clone(),
            workload_uid: kept.workload.uid.clone(),
            group_generation: kept.group_generation,
            config_hash: hex::decode(&kept.config_hash).unwrap_or_default(),
        }),
        build: Some(v1::BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            hostname: inputs.instance.hostname.clone(),
            ..v1::BuildInfo::default()
        }),
        capabilities: [
            linkerd_harness_api::CAPABILITY_PENDING,
            linkerd_harness_api::CAPABILITY_PROBE_TCP,
            linkerd_harness_api::CAPABILITY_PROBE_GRPC,
            linkerd_harness_api::CAPABILITY_PROBE_EXEC,
        ]
        .map(str::to_owned)
        .into(),
    }
}

pub(super) fn report(seq: u64, health: &Health) -> v1::HealthReport {
    let state = match health.state {
        health::State::Starting => v1::health_report::State::Starting,
        health::State::Healthy => v1::health_report::State::Healthy,
        health::State::Unhealthy => v1::health_report::State::Unhealthy,
        health::State::Draining => v1::health_report::State::Draining,
    };
    v1::HealthReport {
        seq,
        state: state.into(),
        reason: health.reason.to_owned(),
        message: health.message.clone(),
        observed_at: Some(SystemTime::now().into()),
        workload_uid: String::new(),
    }
}

pub(super) fn ack(
    config_hash: Vec<u8>,
    outcome: v1::config_ack::Outcome,
    message: &str,
) -> v1::ConfigAck {
    v1::ConfigAck {
        config_hash,
        outcome: outcome.into(),
        message: message.to_owned(),
    }
}
