//! Import circles between the modules of one crate.
//!
//! At every level of the module tree, the siblings with all that lies below them are the nodes, and every path that
//! starts with `crate::`, `super::` or `self::` outside test code is an edge. A name that a module re-exports counts as
//! a path into the module it comes from. Between a module and those below it there is no edge: a parent may list its
//! children, and they may use what it defines.

use super::source::Word;
use super::{Finding, Package};
use std::collections::{BTreeMap, BTreeSet};

type Path = Vec<String>;
/// From one sibling to another, and where the import stands.
type Edges = BTreeMap<String, BTreeMap<String, String>>;

/// Circles among sibling modules, one finding each.
pub(crate) fn circles(package: &Package) -> Vec<Finding> {
    let tree = Tree::new(package);
    let mut levels: BTreeMap<Path, Edges> = BTreeMap::new();
    for source in &package.sources {
        let from = source.module();
        for (path, line) in paths(&source.words, |word| matches!(word, "crate" | "super" | "self")) {
            let to = tree.resolve(&from, &path.segments, 0);
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
                let edges = levels.entry(from[..shared].to_vec()).or_default();
                let place = || format!("{}:{line}", source.shown);
                edges.entry(a.clone()).or_default().entry(b.clone()).or_insert_with(place);
            }
        }
    }
    levels.iter().flat_map(|(level, edges)| circles_of(level, edges)).collect()
}

fn circles_of(level: &[String], edges: &Edges) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        if done.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(start, edges) {
            done.extend(circle.iter().cloned());
            let name = |module: &String| level.iter().chain([module]).cloned().collect::<Vec<_>>().join("::");
            let mut text = circle.iter().map(name).collect::<Vec<_>>().join(" → ");
            text.push_str(&format!(" → {}", name(start)));
            let next = circle.iter().cycle().skip(1);
            let places: Vec<_> = circle.iter().zip(next).map(|(a, b)| edges[a][b].as_str()).collect();
            found.push(Finding::new(places[0], format!("import circle {text} (at {})", places.join(", "))));
        }
    }
    found
}

fn shortest_circle(start: &str, edges: &Edges) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in edges.get(node).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut circle = vec![node.to_owned()];
                let mut at = node;
                while let Some(previous) = came_from.get(at).filter(|_| at != start) {
                    circle.push((*previous).to_owned());
                    at = previous;
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(next.as_str()) {
                came_from.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The modules of a crate and the names that they re-export.
struct Tree {
    modules: BTreeSet<Path>,
    exports: BTreeMap<(Path, String), Path>,
}

impl Tree {
    fn new(package: &Package) -> Self {
        let mut modules = BTreeSet::new();
        for source in &package.sources {
            let module = source.module();
            modules.extend((0..=module.len()).map(|length| module[..length].to_vec()));
        }
        let mut exports = BTreeMap::new();
        for source in &package.sources {
            for start in exported(&source.words) {
                for path in expand(&source.words, start) {
                    if let Some(name) = path.name {
                        exports.insert((source.module(), name), path.segments);
                    }
                }
            }
        }
        Self { modules, exports }
    }

    /// The module that a path written in module `from` leads to.
    fn resolve(&self, from: &[String], segments: &[String], depth: usize) -> Path {
        let mut at = from.to_vec();
        let mut rest = segments;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => {
                    at.pop();
                }
                "self" => {}
                _ => break,
            }
            rest = others;
        }
        for name in rest {
            let mut child = at.clone();
            child.push(name.clone());
            if self.modules.contains(&child) {
                at = child;
                continue;
            }
            if let Some(path) = self.exports.get(&(at.clone(), name.clone())).filter(|_| depth < 8) {
                return self.resolve(&at, path, depth + 1);
            }
            break;
        }
        at
    }
}

/// A path and, in a `use`, the name that it brings in.
struct Written {
    segments: Path,
    name: Option<String>,
}

/// Every path whose first word is one of these, with its line.
fn paths(words: &[Word], starts: impl Fn(&str) -> bool) -> Vec<(Written, usize)> {
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let follows = at >= 2 && words[at - 1].text == ":" && words[at - 2].text == ":";
        let visibility = at >= 1 && words[at - 1].text == "(" && at >= 2 && words[at - 2].text == "pub";
        if starts(&word.text) && !follows && !visibility {
            found.extend(expand(words, at).into_iter().map(|path| (path, word.line)));
        }
    }
    found
}

/// Where the trees of `pub use` and `pub(…) use` begin.
fn exported(words: &[Word]) -> Vec<usize> {
    let uses = words.iter().enumerate().filter(|(_, word)| word.text == "use");
    uses.filter(|(at, _)| *at > 0 && matches!(words[at - 1].text.as_str(), "pub" | ")")).map(|(at, _)| at + 1).collect()
}

/// All paths of the tree that starts here: `a::{b, c::d as e}` gives `a::b` and `a::c::d`, called `b` and `e`.
fn expand(words: &[Word], start: usize) -> Vec<Written> {
    let mut found = Vec::new();
    expand_into(words, start, &[], &mut found);
    found
}

/// Gives the place after the tree.
fn expand_into(words: &[Word], mut at: usize, front: &[String], found: &mut Vec<Written>) -> usize {
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    let mut segments = front.to_vec();
    loop {
        if text(at) == "{" {
            at += 1;
            while !matches!(text(at), "}" | "" | ";") {
                at = expand_into(words, at, &segments, found);
                if text(at) == "," {
                    at += 1;
                } else if text(at) != "}" {
                    return at;
                }
            }
            return at + 1;
        }
        if !text(at).starts_with(|letter: char| letter.is_alphabetic() || letter == '_') {
            found.push(Written { segments, name: None });
            return at + 1;
        }
        segments.push(text(at).to_owned());
        at += 1;
        if text(at) == ":" && text(at + 1) == ":" {
            at += 2;
            continue;
        }
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let mut name = segments.last().cloned();
        if text(at) == "as" {
            name = Some(text(at + 1).to_owned());
            at += 2;
        }
        found.push(Written { segments, name });
        return at;
    }
}

#[cfg(test)]
mod tests {
    use super::super::package;
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        circles(&package("st-x", "", files)).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_circle_of_two_is_found_and_named() {
        let found = found(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "\nuse crate::b::Thing;"),
            ("b.rs", "fn f() { crate::a::g::<u8>() }"),
        ]);
        assert_eq!(
            found,
            ["crates/st-x/src/a.rs:2: import circle a → b → a (at crates/st-x/src/a.rs:2, crates/st-x/src/b.rs:1)"]
        );
    }

    #[test]
    fn a_circle_of_three_through_groups_and_folders_is_found() {
        let found = found(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a/mod.rs", "mod inner;"),
            ("a/inner.rs", "use crate::{b::{self, Other}, Unknown};"),
            ("b.rs", "use super::c::{X, Y};"),
            ("c.rs", "use std::fmt; use crate::a::inner::Z;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a → b → c → a"), "{found:?}");
    }

    #[test]
    fn a_circle_through_a_name_that_the_crate_root_exports_is_found() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::{First as One, Second}; pub(crate) use b::Third;"),
            ("a.rs", "use crate::Third;"),
            ("b.rs", "use crate::One;"),
        ];
        assert_eq!(found(&files).len(), 1);
        let files = [files[0], ("a.rs", "use crate::Third;"), ("b.rs", "use crate::Absent;")];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn a_circle_among_siblings_below_is_found() {
        let found = found(&[
            ("layers/mod.rs", "mod a; mod b;"),
            ("layers/a.rs", "use super::b::X;"),
            ("layers/b.rs", "use crate::layers::a::Y;"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("layers::a → layers::b → layers::a"));
    }

    #[test]
    fn one_way_imports_parents_and_test_code_are_fine() {
        let files = [
            ("lib.rs", "mod a; mod b; pub(crate) use a::A; use b::B;"),
            ("a.rs", "use crate::b::B; pub(crate) struct A; pub(crate) fn f() {} pub(super) use self::c::D;"),
            ("a/c.rs", "use super::A; use crate::b::B;"),
            ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; } /// [`crate::a::A`]\n pub(crate) struct B;"),
            ("tests.rs", "use crate::a::A; use crate::b::B;"),
        ];
        assert!(found(&files).is_empty(), "{:?}", found(&files));
    }

    #[test]
    fn unfinished_sources_do_not_stop_the_check() {
        for text in
            ["use crate::", "use crate::{a, b", "use crate::{a::{", "pub use", "use crate::*;", "crate", "use {a"]
        {
            found(&[("lib.rs", text)]);
        }
    }
}
