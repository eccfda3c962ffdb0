//! The order of the rooms in the architecture page (`src/lib.rs`) is the order of dependence.

mod circles;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rooms in the page's order.
fn rooms() -> Vec<String> {
    let page = fs_err::read_to_string("src/lib.rs").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split_once("`] |"));
    rows.map(|(room, _)| room.to_owned()).filter(|room| !room.contains("::")).collect()
}

/// Every file of the program and of its core.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(Path::new("src"), &mut found);
    files(Path::new("crates/tunelab-core/src"), &mut found);
    found.retain(|file| file.extension().is_some_and(|ending| ending == "rs"));
    found
}

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// The room that a source belongs to; none of the crates' pages and of `main.rs`.
fn room(file: &Path) -> Option<String> {
    let below = file.components().skip_while(|part| part.as_os_str() != "src").nth(1).unwrap();
    let first = below.as_os_str().to_str().unwrap().trim_end_matches(".rs");
    (!["lib", "main"].contains(&first)).then(|| first.to_owned())
}

/// A source's code. Its comments may point anywhere.
fn code(file: &Path) -> String {
    let text = fs_err::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms that code names, as `crate::room` or `crate::{room, …}`.
fn used(code: &str) -> BTreeSet<&str> {
    let word = |text: &'_ str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(found.insert(&rest[..word(rest)])),
            Some(list) => {
                let mut depth = 0;
                let outermost = |c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    (c == ',' && depth == 0) || depth < 0
                };
                // What follows the list's own bracket is no room.
                let end = list.find(';').unwrap_or(list.len());
                let items = list[..end].split(outermost).map(str::trim).filter(|item| !item.is_empty());
                found.extend(items.map(|item| &item[..word(item)]));
            }
        }
    }
    found
}

#[test]
fn no_room_uses_a_later_one() {
    let rooms = rooms();
    let place = |room: &str| rooms.iter().position(|r| r == room);
    let mut uses = 0;
    for file in sources() {
        let Some(room) = room(&file) else { continue };
        let own = place(&room).unwrap_or_else(|| panic!("the page lacks `{room}`"));
        for other in used(&code(&file)) {
            let other_place = place(other).unwrap_or_else(|| panic!("{}: no room `{other}`", file.display()));
            assert!(other_place <= own, "{}: `{room}` uses the later room `{other}`", file.display());
            uses += usize::from(other_place != own);
        }
    }
    assert!(uses > 100, "only {uses} uses found: this test reads nothing");
}

#[test]
fn the_page_lists_every_room_once_and_every_room_has_files() {
    let rooms = rooms();
    let listed: BTreeSet<String> = rooms.iter().cloned().collect();
    assert_eq!(listed.len(), rooms.len(), "a room is listed twice: {rooms:?}");
    assert_eq!(listed, sources().iter().filter_map(|file| room(file)).collect());
}

#[test]
fn nothing_in_the_program_is_unsafe() {
    for file in sources() {
        // A page's policy calls its own styles and script so.
        let code = code(&file).replace("'unsafe-inline'", "");
        for line in code.lines().filter(|line| line.contains("unsafe")) {
            assert_eq!(line, "#![forbid(unsafe_code)]", "{}", file.display());
        }
    }
}

#[test]
fn rooms_are_found_in_every_form_of_use() {
    let code =
        "use crate::data;\nuse crate::{error::{Error, Result}, model::unet as u, plan};\nfn f(x: crate::run::X) {}";
    assert_eq!(used(code).into_iter().collect::<Vec<_>>(), ["data", "error", "model", "plan", "run"]);
}
