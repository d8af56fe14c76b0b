//! Compiles the protocols without `protoc`, so that a build needs nothing but cargo.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["registration.proto", "peer.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
