//! Images side by side, and the words beside them.

use super::*;

fn heading(text: &str, span: usize) -> Heading {
    Heading { text: text.to_string(), span }
}

#[test]
fn every_cell_holds_its_picture_in_its_place() {
    let rows: Vec<Row> = (0..2)
        .map(|row| Row {
            label: ["a dog", "a cat on a sofa"][row].to_string(),
            images: (0..4).map(|column| image(180, 170, (100 + 10 * row + column) as u8)).collect(),
        })
        .collect();
    let drawn = grid::grid(&[heading("base", 2), heading("tuned", 2)], &rows).unwrap();
    let places: Vec<Vec<(usize, usize)>> = rows
        .iter()
        .map(|row| row.images.iter().map(|part| find(&drawn, part).expect("a cell's picture")).collect())
        .collect();
    assert!(places[0].is_sorted_by(|a, b| a.0 + 180 < b.0 && a.1 == b.1));
    assert!((0..4).all(|column| places[0][column].0 == places[1][column].0));
    assert!(places[0][0].1 + 170 < places[1][0].1);
    // The gap between "base" and "tuned" is wider than the ones within.
    assert!(places[0][2].0 - places[0][1].0 > places[0][1].0 - places[0][0].0);
    // Words: each label left of its row, each heading above its images.
    for (row, place) in places.iter().enumerate() {
        let band = place[0].1..place[0].1 + 170;
        assert!(dark_pixels(&drawn, 0..place[0].0, band) > 50, "row {row} has no label");
    }
    for side in [0, 2] {
        assert!(dark_pixels(&drawn, places[0][side].0..places[0][side + 1].0 + 180, 0..places[0][0].1) > 50);
    }
    assert_eq!(grid::grid(&[heading("base", 2), heading("tuned", 2)], &rows).unwrap(), drawn);
}

#[test]
fn pictures_of_other_sizes_are_centered_in_their_cell() {
    let rows = [Row { label: String::new(), images: vec![image(200, 100, 1), image(120, 160, 2)] }];
    let drawn = grid::grid(&[], &rows).unwrap();
    let (wide, tall) = (find(&drawn, &rows[0].images[0]).unwrap(), find(&drawn, &rows[0].images[1]).unwrap());
    assert_eq!(wide.1, tall.1 + 30);
    assert_eq!(pixel(&drawn, wide.0, wide.1 - 1), pixel(&drawn, tall.0 - 1, tall.1));
    assert_ne!(pixel(&drawn, wide.0, wide.1 - 1), pixel(&drawn, 0, 0), "the letterbox cannot be told from the paper");
    assert_eq!(dark_pixels(&drawn, 0..drawn.width, 0..tall.1), 0, "no words were asked for");
}

#[test]
fn tiny_pictures_are_enlarged_by_whole_pixels() {
    let tiny = image(16, 16, 200);
    let drawn = grid::grid(&[], &[Row { label: "x".into(), images: vec![tiny.clone()] }]).unwrap();
    let enlarged = Rgb {
        width: 160,
        height: 160,
        pixels: (0..160 * 160).flat_map(|i| pixel(&tiny, i % 160 / 10, i / 160 / 10)).collect(),
    };
    assert!(find(&drawn, &enlarged).is_some());
}

#[test]
fn a_grid_of_nothing_is_an_error() {
    assert!(grid::grid(&[heading("base", 1)], &[Row { label: "a dog".into(), images: vec![] }]).is_err());
}

#[test]
fn labels_of_any_length_stay_in_their_place() {
    for label in ["dog ".repeat(200), "d".repeat(900), "🐕".repeat(300), "一只狗".repeat(50), "\t\n".to_string()] {
        let rows = [
            Row { label, images: vec![image(170, 170, 77)] },
            Row { label: String::new(), images: vec![image(170, 170, 78)] },
        ];
        let drawn = grid::grid(&[], &rows).unwrap();
        let (first, second) = (find(&drawn, &rows[0].images[0]).unwrap(), find(&drawn, &rows[1].images[0]).unwrap());
        assert!(drawn.width < 2 * 170 + 60, "the label took {} pixels", drawn.width);
        assert_eq!(dark_pixels(&drawn, 0..first.0, second.1..drawn.height), 0, "a label ran into the next row");
    }
}

#[test]
fn a_run_s_grid_is_made_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    let parts: Vec<Rgb> = (0..4).map(|i| image(160, 160, 100 + i)).collect();
    for (prompt, side) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let path = run.sample_path([SampleSet::Base, SampleSet::Final][side], ["a dog", "a cat"][prompt], 0);
        write_png(&path, &parts[2 * prompt + side], &[]).unwrap();
    }
    grid::write_run_grid(run.path()).unwrap();
    let drawn = tunelab::data::load_image(&run.path().join("grid.png")).unwrap();
    let at: Vec<_> = parts.iter().map(|part| find(&drawn, part).unwrap()).collect();
    assert!(at[0].0 < at[1].0 && at[0].1 == at[1].1 && at[0].1 < at[2].1 && at[2].0 == at[0].0 && at[3].0 == at[1].0);

    fs::remove_dir_all(run.path().join("samples/base")).unwrap();
    grid::write_run_grid(run.path()).unwrap();
    let tuned = tunelab::data::load_image(&run.path().join("grid.png")).unwrap();
    assert!(tuned.width < drawn.width && find(&tuned, &parts[3]).is_some());
}

/// A folder with an image of each prompt for each of these sets; the images differ in their tint.
fn drawn_at(run: &RunDir, sets: &[SampleSet]) -> Vec<Rgb> {
    let images: Vec<Rgb> = (0..2 * sets.len()).map(|i| image(160, 160, 60 + 3 * i as u8)).collect();
    for (index, part) in images.iter().enumerate() {
        let path = run.sample_path(sets[index / 2], ["a dog", "a cat"][index % 2], 0);
        write_png(&path, part, &[]).unwrap();
    }
    images
}

#[test]
fn steps_have_a_grid_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    fs::write(run.path().join("plan.toml"), format!("{PLAN}images_every = 100\n")).unwrap();
    drawn_at(&run, &[SampleSet::Base, SampleSet::Final]);
    let read = |name: &str| tunelab::data::load_image(&run.path().join(name)).unwrap();
    grid::write_run_grid(run.path()).unwrap();
    let before = read("grid.png");
    fs::write(run.path().join("steps.png"), "old").unwrap();
    grid::write_steps_grid(run.path()).unwrap();
    assert!(!run.path().join("steps.png").exists());

    let sets = [SampleSet::Base, SampleSet::Step(100), SampleSet::Step(200), SampleSet::Final];
    let images = drawn_at(&run, &sets);
    write_png(&run.sample_path(SampleSet::Base, "a dog", 1), &image(160, 160, 255), &[]).unwrap();
    grid::write_steps_grid(run.path()).unwrap();
    let steps = read("steps.png");
    let at: Vec<_> = images.iter().map(|part| find(&steps, part).unwrap()).collect();
    assert!((0..8).all(|i| at[i].1 == at[i % 2].1 && at[i].0 == at[i / 2 * 2].0) && at[0].1 < at[1].1);
    assert!((0..6).all(|i| at[i].0 < at[i + 2].0) && find(&steps, &image(160, 160, 255)).is_none());
    fs::remove_file(run.sample_path(SampleSet::Base, "a dog", 1)).unwrap();
    grid::write_run_grid(run.path()).unwrap();
    assert_eq!((read("grid.png").width, read("grid.png").height), (before.width, before.height));

    // Without an image its cell stays empty.
    fs::remove_file(run.sample_path(SampleSet::Step(100), "a dog", 0)).unwrap();
    grid::write_steps_grid(run.path()).unwrap();
    let steps = read("steps.png");
    assert!(find(&steps, &images[2]).is_none() && find(&steps, &images[4]) == Some(at[4]));
}

#[test]
fn of_many_steps_eight_are_shown_evenly() {
    let folder = tempfile::tempdir().unwrap();
    let run = fresh(folder.path());
    fs::write(run.path().join("plan.toml"), format!("{PLAN}images_every = 50\n")).unwrap();
    let steps = (1..=20).map(|step| SampleSet::Step(50 * step));
    let sets: Vec<SampleSet> = [SampleSet::Base].into_iter().chain(steps).chain([SampleSet::Final]).collect();
    let images = drawn_at(&run, &sets);
    let plan = run.path().join("plan.toml");
    grid::write_steps_grid(run.path()).unwrap();
    let read = || tunelab::data::load_image(&run.path().join("steps.png")).unwrap();
    let plain = read();
    let shown: Vec<usize> = (0..sets.len()).filter(|set| find(&plain, &images[2 * set]).is_some()).collect();
    assert_eq!(shown, [0, 1, 4, 6, 9, 12, 15, 17, 20, 21]);

    fs::write(&plan, format!("{PLAN}images_every = 50\n[stands_in_for]\nexperiment = \"e\"\n")).unwrap();
    grid::write_steps_grid(run.path()).unwrap();
    let marked = read();
    assert!(marked.width == plain.width && marked.height > plain.height, "the mark has no line of its own");
}

#[test]
fn text_is_wrapped_kerned_and_cut() {
    let face = text::Face::new(text::REGULAR, 20.0).unwrap();
    assert!(face.width("AV") < face.width("A") + face.width("V"), "no kerning");
    let lines = face.wrap("a photo of a dog on the beach", 120.0, 9);
    assert!(lines.len() > 1 && lines.iter().all(|line| face.width(line) <= 120.0), "{lines:?}");
    assert_eq!(lines.join(" "), "a photo of a dog on the beach");
    let cut = face.wrap(&"word ".repeat(100), 120.0, 2);
    assert_eq!(cut.len(), 2);
    assert!(cut[1].ends_with('…') && face.width(&cut[1]) <= 120.0, "{cut:?}");
    assert!(cut.iter().all(|line| line.trim_end_matches('…').split(' ').all(|word| word == "word")), "{cut:?}");
    assert!(face.wrap(" \n ", 120.0, 2).is_empty());
}

#[test]
fn a_missing_character_is_a_visible_box() {
    let face = text::Face::new(text::REGULAR, 40.0).unwrap();
    let draw = |what: &str| {
        let mut canvas = Rgb { width: 60, height: 60, pixels: vec![255; 3 * 60 * 60] };
        face.draw(&mut canvas, 5.0, 50.0, what, [0, 0, 0]);
        dark_pixels(&canvas, 0..60, 0..60)
    };
    assert!(draw("狗") > 50);
    assert_eq!(draw("🐕"), draw("狗"));
    assert_eq!(draw("\u{200d}\u{fe0f}"), 0);
    assert!(draw("é") > draw("e"));
}
