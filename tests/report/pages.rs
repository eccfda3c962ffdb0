//! The write-up, and the document it is made of.

use super::tables::{runs, tree};
use super::*;
use tunelab::report::document::{escape_markdown, to_html, to_markdown};
use tunelab::report::table::Table;
use tunelab::report::{data_grid, page};

/// The tree with images, without what depends on this build.
fn blocks(results: &Path) -> Vec<tunelab::report::document::Block> {
    let mut runs = runs(results);
    for run in &mut runs.finished {
        run.record.versions =
            Versions { tunelab: "1.2.3".into(), commit: Some("c0ffee".into()), rustc: None, crates: [].into() };
        run.record.hashes.data.insert("dog <1>.jpg".into(), "0123456789abcdef0123".into());
        for name in ["loss.png", "loss.svg", "grid.png"] {
            fs::write(run.path.join(name), "").unwrap();
        }
    }
    fs::write(results.join("loss.png"), "").unwrap();
    fs::write(results.join("lora_dog/data.png"), "").unwrap();
    let table = Table::new(&runs.finished, None).unwrap();
    page::blocks(results, &runs, &table)
}

#[test]
fn the_write_up_says_everything_in_the_report_s_order() {
    let folder = tree();
    let blocks = blocks(folder.path());
    let markdown = to_markdown(&blocks);
    insta::assert_snapshot!("report_md", markdown);
    insta::assert_snapshot!("index_html", to_html("Title", &blocks));
    let here = folder.path().to_string_lossy();
    assert!(!markdown.contains(&*here), "an absolute path");
}

#[test]
fn every_link_leads_to_a_file() {
    let folder = tree();
    let html = to_html("Title", &blocks(folder.path()));
    let links: Vec<&str> = html.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links.len(), 8);
    for link in links {
        assert!(folder.path().join(link).is_file(), "{link}");
    }
}

#[test]
fn what_came_from_outside_stays_text() {
    assert_eq!(escape_markdown("a|b *c* <d> `e` f_g _h_"), r"a\|b \*c\* \<d\> \`e\` f_g \_h\_");
    assert_eq!(escape_markdown("# no\nheading"), "\\# no heading");
    let folder = tree();
    let html = to_html("<script>", &blocks(folder.path()));
    assert!(!html.contains("<script>") && html.contains("dog &lt;1&gt;.jpg"));
}

#[test]
fn the_data_are_shown_with_their_count() {
    let instance: Vec<Rgb> = (0..7).map(|n| image(170, 170, 20 + n)).collect();
    let class: Vec<Rgb> = (0..45).map(|n| image(170, 170, 100 + n)).collect();
    let drawn = data_grid::data_grid(&instance, &class, |p| Ok(p.clone())).unwrap();
    let place = |part: &Rgb| find(&drawn, part);
    let (first, last) = (place(&instance[0]).unwrap(), place(&instance[4]).unwrap());
    assert!(first.1 == last.1 && place(&instance[5]).is_none());
    assert!(place(&class[4]).unwrap().1 > first.1 && place(&class[9]).unwrap().1 > place(&class[4]).unwrap().1);
    assert!(place(&class[10]).is_none());
    assert!(dark_pixels(&drawn, 0..first.0, first.1..first.1 + 170) > 50, "no label");
    let large = data_grid::data_grid(&[image(1000, 800, 1)], &[], |p| Ok(p.clone())).unwrap();
    assert!(large.height < 400);
    assert!(data_grid::data_grid(&[], &[], |p: &Rgb| Ok(p.clone())).is_err());
}
