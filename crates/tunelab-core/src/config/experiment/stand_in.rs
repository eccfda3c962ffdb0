//! `[stand_in]`: what an experiment becomes where its own model or pictures cannot be had.
//!
//! In: the tree of an experiment. Out: a second tree, with the table's keys laid over the rest as a
//! variant's are.

use super::overlay::{Rivals, STAND_IN, lay};
use super::{Problem, Table, Value};

/// An experiment's tree without its stand-in, and the stand-in's own, if there is one.
pub(super) struct Trees {
    pub own: Table,
    pub stand_in: Option<Table>,
}

/// Lays the arguments over `below`, and parts it from its stand-in, which gets the arguments too,
/// as the last word.
pub(super) fn part(below: &Table, arguments: &[Table], problems: &mut Vec<Problem>) -> Trees {
    let mut own = below.clone();
    for argument in arguments {
        lay(&mut own, argument.clone(), Rivals::Argument);
    }
    let Some(entry) = own.remove(STAND_IN) else { return Trees { own, stand_in: None } };
    let Value::Table(over) = entry.value else {
        problems.push(Problem::new(entry.key, "`stand_in` must be a table").label("write [stand_in]"));
        return Trees { own, stand_in: None };
    };
    let mut root = without(below);
    lay(&mut root, over, Rivals::Variant);
    for argument in arguments {
        lay(&mut root, without(argument), Rivals::Argument);
    }
    Trees { own, stand_in: Some(root) }
}

fn without(table: &Table) -> Table {
    let mut table = table.clone();
    table.remove(STAND_IN);
    table
}
