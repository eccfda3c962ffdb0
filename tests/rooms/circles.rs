//! No files import from each other in a circle: what two of them share stands in a file that both import.
//!
//! Counted is what a file's own `use` brings in, through names that others hand on. Not counted: what is handed on itself, and that a room's
//! own file calls into its files by their names, as `overlay::check(…)`.

use super::{code, files};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module's path in its crate.
type Module = Vec<String>;

/// What a crate's files say by `use`.
#[derive(Default)]
struct Crate {
    /// For each module that is a file the paths that it uses, without those that it only hands on.
    uses: BTreeMap<Module, Vec<Module>>,
    /// For each the paths behind the names that it uses or hands on.
    names: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    fn read(src: &str) -> Self {
        let mut sources = Vec::new();
        files(Path::new(src), &mut sources);
        let mut found = Self::default();
        for file in sources.iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
            let below = file.strip_prefix(src).unwrap().with_extension("");
            let mut module: Module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            module.pop_if(|last| ["lib", "main", "mod"].contains(&&**last));
            let (uses, names) = (found.uses.entry(module.clone()).or_default(), found.names.entry(module).or_default());
            for (is_handed_on, tree) in statements(&code(file)) {
                for (path, name) in leaves(&tree) {
                    names.insert(name, path.clone());
                    uses.extend((!is_handed_on).then_some(path));
                }
            }
        }
        found
    }

    /// The module that a path names, or has the item that it names.
    fn target(&self, from: &[String], path: &[String]) -> Option<Module> {
        let (mut at, mut rest) = match path.split_first()? {
            (first, rest) if first == "crate" => (Module::new(), rest),
            (first, rest) if first == "self" => (from.to_vec(), rest),
            (first, rest) if first == "super" => (from.split_last()?.1.to_vec(), rest),
            _ => (from.to_vec(), path),
        };
        while let Some((first, behind)) = rest.split_first() {
            if first == "super" {
                at.pop();
            } else if self.uses.contains_key(&[&at[..], std::slice::from_ref(first)].concat()) {
                at.push(first.clone());
            } else {
                break;
            }
            rest = behind;
        }
        match rest.first() {
            None => Some(at),
            Some(name) if at != from => match self.names[&at].get(name) {
                Some(path) => self.target(&at, path),
                None => Some(at),
            },
            // Another crate's, or its own.
            Some(_) => None,
        }
    }

    /// Modules of which each can be reached from each.
    fn circles(&self) -> BTreeSet<BTreeSet<Module>> {
        let used = |module: &Module| {
            let all = self.uses[module].iter().filter_map(|path| self.target(module, path));
            all.filter(|other| other != module).collect::<BTreeSet<_>>()
        };
        let used: BTreeMap<&Module, BTreeSet<Module>> = self.uses.keys().map(|module| (module, used(module))).collect();
        assert!(used.values().map(BTreeSet::len).sum::<usize>() > 50, "too few uses: this test reads nothing");
        let reached = |module: &Module| {
            let (mut found, mut left) = (BTreeSet::new(), vec![module]);
            while let Some(next) = left.pop() {
                left.extend(used[next].iter().filter(|other| found.insert((*other).clone())));
            }
            found
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            used.keys().map(|module| (*module, reached(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, others) in &reached {
            let circle: BTreeSet<Module> = others.iter().filter(|o| reached[o].contains(*module)).cloned().collect();
            circles.extend((!circle.is_empty()).then_some(circle));
        }
        circles
    }
}

/// Every `use` of a file, and whether it hands names on.
fn statements(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap();
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        if before.is_empty() || before.starts_with("pub") {
            found.push((!before.is_empty(), rest[at + 4..end].split_whitespace().collect::<Vec<_>>().join(" ")));
        }
        rest = &rest[at + 4..];
    }
    found
}

/// The paths of a tree, each with the name that it has from here on.
fn leaves(tree: &str) -> Vec<(Module, String)> {
    let Some((stem, list)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name)));
        let mut path: Module = path.trim().split("::").map(str::to_owned).filter(|part| part != "*").collect();
        path.pop_if(|last| last == "self");
        let name = name.map_or_else(|| path.last().cloned().unwrap_or_default(), |name| name.trim().to_owned());
        return vec![(path, name)];
    };
    let mut depth = 0;
    let items = list.trim_end().trim_end_matches('}').split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let items = items.map(str::trim).filter(|item| !item.is_empty());
    items.flat_map(|item| leaves(&format!("{stem}{item}"))).collect()
}

#[test]
fn no_files_import_from_each_other_in_a_circle() {
    for src in ["src", "crates/tunelab-core/src", "crates/tunelab-ops/src"] {
        let circles = Crate::read(src).circles();
        assert!(circles.is_empty(), "{src}: {circles:#?}");
    }
}

#[test]
fn every_form_of_use_is_followed() {
    let tree = "super::{a::{self, B as C}, d}";
    let path = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
    let found: Vec<_> =
        [("super::a", "a"), ("super::a::B", "C"), ("super::d", "d")].map(|(p, n)| (path(p), n.to_owned())).into();
    assert_eq!(leaves(tree), found);
    let said = statements("use a::b;\npub use c::{D,\n    E};\n    use super::*;\n");
    assert_eq!(said, [(false, "a::b".to_owned()), (true, "c::{D, E}".to_owned())]);
}
