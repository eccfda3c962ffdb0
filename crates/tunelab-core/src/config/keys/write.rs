//! Settings → TOML: everything written out, valid as an experiment, and resolving to the same plan.
//!
//! In: keys and their values, table by table; a table's own keys come before the tables in it. Out:
//! lines.

use super::{Key, Kind, Setting};

/// Lines of TOML.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: String,
    path: Vec<String>,
    /// The table whose heading was written last; the top level has none.
    heading: Vec<String>,
}

impl Lines {
    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    pub(super) fn enter(&mut self, name: &str) {
        self.path.push(name.into());
    }

    /// One of the tables in a list.
    pub(super) fn enter_item(&mut self, name: &str) {
        self.path.push(name.into());
        self.text.extend(["\n[[", &self.path.join("."), "]]\n"]);
        self.heading.clone_from(&self.path);
    }

    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    pub(super) fn key(&mut self, key: &Key, value: Option<Setting>) {
        let Some(value) = value.filter(|value| !key.quiet || *value != Setting::Flag(false)) else { return };
        // One that must have something in it and has nothing is not said.
        if key.kind == Kind::Text && value == Setting::Text(String::new()) {
            return;
        }
        if self.heading != self.path {
            self.text.extend(["\n[", &self.path.join("."), "]\n"]);
            self.heading.clone_from(&self.path);
        }
        self.text.extend([key.name, " = ", &value.to_toml(), "\n"]);
    }
}
