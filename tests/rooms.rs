//! The order of the rooms in the architecture page (`src/lib.rs`) is the order of dependence.

use std::path::{Path, PathBuf};

/// The rooms in the page's order.
fn rooms() -> Vec<String> {
    let page = fs_err::read_to_string("src/lib.rs").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split_once("`] |"));
    rows.map(|(room, _)| room.to_owned()).filter(|room| !room.contains("::")).collect()
}

/// Every source file of a room.
fn files(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// The rooms that a source's code names, as `crate::room`. Its comments may point anywhere.
fn used(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let names = code.flat_map(|line| line.split("crate::").skip(1));
    names.filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
}

#[test]
fn no_room_uses_a_later_one() {
    let rooms = rooms();
    let place = |room: &str| rooms.iter().position(|r| r == room);
    let mut sources = Vec::new();
    files(Path::new("src"), &mut sources);
    let mut uses = 0;
    for file in sources {
        let room = file.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&room.as_str()) {
            continue;
        }
        let own = place(&room).unwrap_or_else(|| panic!("the page lacks `{room}`"));
        for other in used(&fs_err::read_to_string(&file).unwrap()) {
            let other_place = place(other).unwrap_or_else(|| panic!("{}: no room `{other}`", file.display()));
            assert!(other_place <= own, "{}: `{room}` uses the later room `{other}`", file.display());
            uses += usize::from(other_place != own);
        }
    }
    assert!(uses > 100, "only {uses} uses found: this test reads nothing");
}
