//! The write-up, and the page and the document that it is written as.

use super::tables::{finished, runs, tree};
use super::*;
use tunelab::report::document::{escape_markdown, to_markdown};
use tunelab::report::runs::Folder;
use tunelab::report::table::Table;
use tunelab::report::{data_grid, page};
use tunelab::results::{LOSS_CSV, MetricRecord, MetricsRecord, SetMetrics};

/// The tree with images, without what depends on this build.
fn runs_with_files(results: &Path) -> tunelab::report::runs::Runs {
    let mut runs = runs(results);
    for run in &mut runs.finished {
        run.record.versions = tunelab::results::Versions {
            tunelab: "1.2.3".into(),
            commit: Some("c0ffee".into()),
            rustc: None,
            crates: [].into(),
        };
        run.record.hashes.data.insert("dog <1>.jpg".into(), "0123456789abcdef0123".into());
        for name in ["loss.png", "loss.svg", "grid.png"] {
            fs::write(run.path.join(name), "").unwrap();
        }
    }
    fs::write(results.join("loss.png"), "").unwrap();
    fs::write(results.join("loss.svg"), "<?xml version=\"1.0\"?>\n<svg><title>all</title></svg>").unwrap();
    fs::write(results.join("lora_dog/data.png"), "").unwrap();
    runs
}

fn html(results: &Path) -> String {
    let runs = runs_with_files(results);
    page::Page::new(results, &runs, &Table::new(&runs.finished, None).unwrap()).to_html()
}

/// Everything before the first script.
fn told(html: &str) -> &str {
    html.split_once("<body>").unwrap().1.split_once("<script").unwrap().0
}

/// What the script reads.
fn data(html: &str) -> serde_json::Value {
    let from = html.split_once("id=\"data\">").unwrap().1;
    serde_json::from_str(from.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_write_up_begins_with_what_was_asked_and_what_came_of_it() {
    let folder = tree();
    let asked = record("asked");
    let about = "# Does it learn?\n#\n# With <five> photographs.\n";
    match RunDir::open(folder.path(), "asked", &format!("{about}\nname = \"asked\"\n{PLAN}"), false).unwrap() {
        Opened::Fresh(run) => run.finish(&asked).unwrap(),
        other => panic!("{other:?}"),
    }
    let runs = runs_with_files(folder.path());
    let table = Table::new(&runs.finished, None).unwrap();
    let markdown = to_markdown(&page::blocks(folder.path(), &runs, &table));
    insta::assert_snapshot!("report_md", markdown);
    let html = html(folder.path());
    insta::assert_snapshot!("index_html", told(&html));
    for text in [&markdown, &html] {
        assert!(!text.contains(&*folder.path().to_string_lossy()), "an absolute path");
    }
}

#[test]
fn several_runs_are_told_by_what_their_names_do_not_share() {
    let folder = tempfile::tempdir().unwrap();
    for (name, loss) in
        [("sweep-lr1-seed1-stand-in", 0.5), ("sweep-lr2-seed1-stand-in", 0.25), ("sweep-lr1-lr2-seed1-stand-in", 0.375)]
    {
        let mut run = record(name);
        run.loss.eval_last = Some(loss);
        finished(folder.path(), &run, "");
    }
    let findings = page::findings(&runs(folder.path()).finished);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].outcome, ["evaluation loss: highest lr1 (0.5000), lowest lr2 (0.2500)"]);
    // Nothing is taken of names that would leave nothing.
    finished(folder.path(), &record("sweep"), "");
    let findings = page::findings(&runs(folder.path()).finished);
    assert_eq!(
        findings[0].outcome,
        ["evaluation loss: highest sweep-lr1-seed1-stand-in (0.5000), lowest sweep (0.1302)"]
    );
}

#[test]
fn every_link_leads_to_a_file() {
    let folder = tree();
    let html = html(folder.path());
    for ending in ["csv", "md", "tex"] {
        fs::write(folder.path().join(format!("table.{ending}")), "").unwrap();
    }
    let links = ["src=\"", "href=\""].into_iter().flat_map(|kind| told(&html).split(kind).skip(1));
    let links: Vec<&str> =
        links.filter_map(|rest| rest.split('"').next()).filter(|link| !link.starts_with('#')).collect();
    assert!(links.len() > 15, "{links:?}");
    for link in links.into_iter().filter(|link| !link.ends_with(LOSS_CSV)) {
        let file = link.replace("%20", " ").replace("%7C", "|");
        assert!(folder.path().join(&file).is_file(), "{link}");
    }
}

#[test]
fn the_page_asks_nobody_for_anything() {
    let folder = tree();
    let html = html(folder.path());
    let policy = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  base-uri 'none'; form-action 'none'";
    assert!(html.contains(policy) && !html.contains("connect-src"));
    // What is vendored names its home in a comment.
    assert_eq!(
        html.matches("http").count(),
        html.matches("http-equiv").count() + html.matches("https://github.com/leeoniya").count()
    );
    let runs = runs(folder.path());
    let table = Table::new(&runs.finished, None).unwrap();
    let followed = page::Page::new(folder.path(), &runs, &table).followed(&runs).to_html();
    assert!(followed.contains("connect-src 'self'") && data(&followed)["live"] == true);
    assert_eq!(data(&followed)["runs"].as_array().unwrap().len(), 4);
    assert_eq!(data(&html)["live"], false);
}

#[test]
fn what_is_vendored_is_what_its_readme_says() {
    let readme = fs::read_to_string("assets/page/uplot/README.md").unwrap();
    for file in ["uPlot.iife.min.js", "uPlot.min.css", "LICENSE"] {
        let hash = tunelab::hash::sha256(&fs::read(format!("assets/page/uplot/{file}")).unwrap());
        assert!(
            readme.lines().any(|line| line.starts_with(&format!("| {file} |")) && line.contains(&hash)),
            "{file} {hash}"
        );
    }
}

#[test]
fn what_came_from_outside_stays_text() {
    assert_eq!(escape_markdown("a|b *c* <d> `e` f_g _h_"), r"a\|b \*c\* \<d\> \`e\` f_g \_h\_");
    assert_eq!(escape_markdown("# no\nheading"), "\\# no heading");
    let folder = tree();
    let (name, prompt) = ("<img src=x onerror=alert(1)>", "a \"dog\" </script><script>alert(2)</script> & 🐶");
    let mut odd = record(name);
    odd.warnings = vec!["<b>bold</b>".into()];
    let plan = format!("# <u>Why?</u>\n\nname = '{name}'\n[eval]\nprompts = ['{prompt}']\n");
    match RunDir::open(folder.path(), name, &plan, false).unwrap() {
        Opened::Fresh(run) => run.finish(&odd).unwrap(),
        other => panic!("{other:?}"),
    }
    let html = html(folder.path());
    for tag in ["<img src=x", "<b>bold", "<u>Why", "alert(2)</script>"] {
        assert!(!html.contains(tag), "{tag}");
    }
    assert!(html.contains("dog &lt;1&gt;.jpg") && html.contains("&lt;u&gt;Why?&lt;/u&gt;"));
    let data = data(&html);
    let run = data["runs"].as_array().unwrap().iter().find(|run| run["name"] == name).unwrap();
    assert_eq!(run["prompts"][0]["text"], prompt);
}

#[test]
fn the_script_knows_images_and_curves() {
    let folder = tree();
    let mut drawn = record("drawn");
    let mean = |metric: &str, value| MetricRecord {
        encoder: "builtin".into(),
        metric: metric.into(),
        prompt: None,
        value,
        interval: None,
    };
    let set = |set: &str, step, metrics| SetMetrics { set: set.into(), step, metrics, nearest: [].into() };
    drawn.metrics = Some(MetricsRecord {
        sets: vec![
            set("base", 0, vec![mean("subject", 0.25)]),
            set("tuned", 500, vec![mean("subject", 0.75), mean("pres", 0.5)]),
        ],
        ..MetricsRecord::default()
    });
    finished(folder.path(), &drawn, "");
    let run = folder.path().join("drawn");
    for image in
        ["base/a-dog/0", "base/a-dog/1", "step-000100/a-dog/0", "tuned/a-dog/0", "tuned/a-dog/2", "tuned/a-cat/0"]
    {
        let file = run.join(format!("samples/{image}.png"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    let steps: Vec<String> = (1..=12_001).map(|step| format!("{step},1,{}.5,0.001,{step}", step % 7)).collect();
    fs::write(run.join(LOSS_CSV), format!("step,epoch,loss,lr,grad_norm\n{}\n", steps.join("\n"))).unwrap();
    fs::write(run.join("eval.csv"), "step,eval_loss\n0,0.5\n12001,0.25\n").unwrap();
    let html = html(folder.path());
    let data = data(&html);
    let view = data["runs"].as_array().unwrap().iter().find(|run| run["name"] == "drawn").unwrap();
    let expected = serde_json::json!([
        {"folder": "base", "label": "base", "step": 0, "images": [2, 0]},
        {"folder": "step-000100", "label": "step 100", "step": 100, "images": [1, 0]},
        {"folder": "tuned", "label": "tuned", "step": 500, "images": [1, 1]},
    ]);
    assert_eq!(view["sets"], expected);
    let curve = |name: &str| view["curves"].as_array().unwrap().iter().find(|curve| curve["name"] == name).cloned();
    let loss = curve("training loss").unwrap();
    // Every third step, as logged, and the last one.
    assert_eq!((&loss["every"], &loss["x"][1], &loss["y"][1]), (&3.into(), &4.0.into(), &4.5.into()));
    assert_eq!(loss["x"].as_array().unwrap().last().unwrap(), 12_001.0);
    assert_eq!(curve("evaluation loss").unwrap()["y"], serde_json::json!([0.5, 0.25]));
    assert_eq!(curve("subject (builtin)").unwrap()["x"], serde_json::json!([0.0, 500.0]));
    // One point is no curve.
    assert!(curve("pres (builtin)").is_none() && curve("instance loss").is_none());
    let under_way = page::RunView::under_way(&Folder::open(&run).unwrap(), 1);
    assert!(!under_way.finished && under_way.sets[2].step == 12_001);
}

#[test]
fn one_file_holds_its_images() {
    let folder = tree();
    let runs = runs_with_files(folder.path());
    let samples = folder.path().join("lora_dog/samples/tuned/a-dog");
    fs::create_dir_all(&samples).unwrap();
    fs::write(samples.join("0.png"), [0xff, 0xee, 0xdd]).unwrap();
    let written = page::write(folder.path(), &runs, &Table::new(&runs.finished, None).unwrap(), true).unwrap();
    assert_eq!(written, ["report.md", "index.html", "report.html"]);
    let html = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert_eq!(data(&html)["files"]["lora_dog/samples/tuned/a-dog/0.png"], "data:image/png;base64,/+7d");
    let linked: Vec<&str> = told(&html).split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(linked.len() >= 7 && linked.iter().all(|link| link.starts_with("data:image/")), "{linked:?}");
    let index = fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(data(&index).get("files").is_none() && !told(&index).contains("data:image"));
}

#[test]
fn columns_that_differ_stay_in_the_page_s_table() {
    let folder = tree();
    let html = html(folder.path());
    let table = html.split_once("id=\"runs-table\"").unwrap().1.split_once("</table>").unwrap().0;
    let note = html.split_once("The same in all runs: ").unwrap().1.split_once("</p>").unwrap().0;
    assert!(table.contains("trained parameters") && !table.contains("total parameters"), "{table}");
    assert!(note.starts_with("total parameters 1,066,235,307"), "{note}");
    // A ratio is a line below its number, exact values are for sorting, published figures keep to their run.
    assert!(table.contains("data-value=\"14.4\">14.400<small>2.00×</small>"), "{table}");
    assert_eq!(table.matches("class=\"reference\"").count(), 2);
    assert_eq!(table.matches("data-run=").count(), 3);
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
