//! Rules over single files.

use super::source::{Source, Word};
use super::{Finding, Package};

const LONGEST: usize = 500;
const ODDS_AND_ENDS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];
/// Where environment variables may be read: the one file of the library, and whole crates that no user depends on.
const ENVIRONMENT_FILE: &str = "crates/st-hub/src/environment.rs";
const NOT_FOR_USERS: &[&str] = &["xtask", "st-testing"];

/// `std::env` is read in one file only.
pub(crate) fn environment(package: &Package) -> Vec<Finding> {
    if NOT_FOR_USERS.contains(&package.name.as_str()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for source in package.sources.iter().filter(|source| source.shown != ENVIRONMENT_FILE) {
        for reader in ["var", "var_os", "vars", "vars_os", "set_var", "remove_var"] {
            for line in source.find(&["env", ":", ":", reader]) {
                let message = format!("env::{reader} belongs into {ENVIRONMENT_FILE}");
                found.push(Finding::new(format!("{}:{line}", source.shown), message));
            }
        }
        for line in source.find(&["env", ":", ":", "{"]) {
            found.push(Finding::new(format!("{}:{line}", source.shown), "import single names from std::env"));
        }
    }
    found
}

/// Sockets are opened in `st-hub`, and by the local Hub of the tests.
pub(crate) fn no_sockets(package: &Package) -> Vec<Finding> {
    if matches!(package.name.as_str(), "st-hub" | "st-testing") {
        return Vec::new();
    }
    lines(package, &["std", ":", ":", "net"], "std::net belongs into st-hub")
}

fn lines(package: &Package, wanted: &[&str], message: &str) -> Vec<Finding> {
    let of = |source: &Source| {
        let places = source.find(wanted).into_iter().map(|line| format!("{}:{line}", source.shown));
        places.map(|place| Finding::new(place, message)).collect::<Vec<_>>()
    };
    package.sources.iter().flat_map(of).collect()
}

/// A feature switches items, not statements.
pub(crate) fn features_in_bodies(package: &Package) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &package.sources {
        for body in bodies(&source.words) {
            for (at, word) in body.iter().enumerate() {
                if matches!(word.text.as_str(), "cfg" | "cfg_attr") && mentions_feature(&body[at + 1..]) {
                    let message = "cfg(feature) inside a function body: switch the item instead";
                    found.push(Finding::new(format!("{}:{}", source.shown, word.line), message));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether `( … feature = … )` or `! ( … feature = … )` follows.
fn mentions_feature(words: &[Word]) -> bool {
    let words = if words.first().is_some_and(|word| word.text == "!") { &words[1..] } else { words };
    let mut depth = 0;
    for pair in words.windows(2) {
        match pair[0].text.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            "feature" if pair[1].text == "=" => return true,
            _ => {}
        }
        if depth == 0 {
            return false;
        }
    }
    false
}

/// The bodies of the functions that have a name.
fn bodies(words: &[Word]) -> Vec<&[Word]> {
    let mut bodies = Vec::new();
    for (start, pair) in words.windows(2).enumerate() {
        let named = pair[1].text.chars().next().is_some_and(|letter| letter.is_alphabetic() || letter == '_');
        if pair[0].text != "fn" || !named {
            continue;
        }
        let mut depth = 0_usize;
        for (at, word) in words.iter().enumerate().skip(start + 2) {
            match word.text.as_str() {
                "(" | "[" => depth += 1,
                ")" | "]" => depth = depth.saturating_sub(1),
                ";" if depth == 0 => break,
                "{" if depth == 0 => {
                    bodies.push(&words[at..super::source::end_of_item(words, at)]);
                    break;
                }
                _ => {}
            }
        }
    }
    bodies
}

/// A file is named after what it holds.
pub(crate) fn odds_and_ends(package: &Package) -> Vec<Finding> {
    let named_so = |source: &&Source| {
        source.path.with_extension("").iter().any(|part| ODDS_AND_ENDS.iter().any(|name| part == *name))
    };
    let finding = |source: &Source| Finding::new(&source.shown, "name the file after what it holds");
    package.sources.iter().filter(named_so).map(finding).collect()
}

/// Files that grew too long to read.
pub(crate) fn long_files(package: &Package) -> Vec<Finding> {
    let long = package.sources.iter().filter(|source| source.lines > LONGEST);
    long.map(|source| Finding::new(&source.shown, format!("{} lines", source.lines))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::package;
    use super::*;

    fn one(rule: fn(&Package) -> Vec<Finding>, name: &str, path: &str, text: &str) -> Vec<String> {
        rule(&package(name, "", &[(path, text)])).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn reading_a_variable_is_found() {
        let text = "fn f() {\n  let x = std::env::var_os(\"HOME\");\n}";
        let found = one(environment, "st-cli", "main.rs", text);
        assert_eq!(found, ["crates/st-cli/src/main.rs:2: env::var_os belongs into crates/st-hub/src/environment.rs"]);
        assert!(one(environment, "st-hub", "environment.rs", text).is_empty());
        assert!(one(environment, "st-testing", "locate.rs", text).is_empty());
        assert!(one(environment, "st-cli", "main.rs", "// env::var\nlet x = \"env::var\"; env::args();").is_empty());
        assert!(one(environment, "st-cli", "main.rs", "#[cfg(test)] mod tests { fn f() { env::var(a) } }").is_empty());
    }

    #[test]
    fn a_socket_is_found() {
        assert_eq!(one(no_sockets, "st-native", "lib.rs", "use std::net::TcpStream;").len(), 1);
        assert!(one(no_sockets, "st-hub", "lib.rs", "use std::net::TcpStream;").is_empty());
    }

    #[test]
    fn a_feature_inside_a_body_is_found_and_on_an_item_fine() {
        let inside =
            "fn f(x: [u8; 2]) -> bool {\n  #[cfg(feature = \"a\")]\n  g();\n  cfg!(any(unix, feature = \"b\"))\n}";
        let found = one(features_in_bodies, "st-native", "lib.rs", inside);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/st-native/src/lib.rs:2"));
        let outside = "#[cfg(feature = \"a\")]\nfn f() {}\n#[cfg(not(feature = \"a\"))]\nfn f() { cfg!(unix); }\ntrait T { fn g(&self); }";
        assert!(one(features_in_bodies, "st-native", "lib.rs", outside).is_empty());
        let nested = "impl T { fn f() { if x { if cfg!(feature = \"a\") { y() } } } }";
        assert_eq!(one(features_in_bodies, "st-native", "lib.rs", nested).len(), 1);
    }

    #[test]
    fn a_file_of_odds_and_ends_is_found() {
        assert_eq!(one(odds_and_ends, "st-cli", "utils.rs", "").len(), 1);
        assert_eq!(one(odds_and_ends, "st-cli", "common/mod.rs", "").len(), 1);
        assert!(one(odds_and_ends, "st-cli", "utility_rates.rs", "").is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(one(long_files, "st-cli", "a.rs", &"x\n".repeat(501)), ["crates/st-cli/src/a.rs: 501 lines"]);
        assert!(one(long_files, "st-cli", "a.rs", &"x\n".repeat(500)).is_empty());
    }
}
