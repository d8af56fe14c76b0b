//! Under `cargo fuzz`: libFuzzer on the target that `FUZZ_TARGET` names. Else: `seeds` writes the seeds of all targets to
//! `fuzz/corpus/<target>`, and `<target> <file>…` runs a target on files, such as those that libFuzzer left.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
static TARGET: std::sync::LazyLock<fuzz::Target> = std::sync::LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET must name a target");
    fuzz::target(&name).expect("FUZZ_TARGET must name a target")
});

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
});

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let word = words.next().unwrap_or_default();
    if word == "seeds" {
        return write_seeds();
    }
    let Some(target) = word.to_str().and_then(fuzz::target) else {
        let names = fuzz::TARGETS.map(|target| target.name).join(", ");
        return Err(std::io::Error::other(format!(
            "say `seeds`, or a target and files; targets are {names}"
        )));
    };
    for file in words {
        (target.run)(&std::fs::read(file)?);
    }
    Ok(())
}

#[cfg(not(fuzzing))]
fn write_seeds() -> std::io::Result<()> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in fuzz::TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
