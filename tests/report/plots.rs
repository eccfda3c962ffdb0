//! Curves of several runs over each other, and the axes that all figures are made of.

use super::*;
use plotters::coord::ranged1d::Ranged;
use tunelab::report::figure::Axis;
use tunelab::report::plot::{self, LossKind, PlotOptions};

const OPTIONS: PlotOptions = PlotOptions { losses: LossKind::Both, log: false, smoothing: None };

fn run(name: &str, level: f64, steps: usize) -> (String, Losses) {
    let raw = (1..=steps).map(|step| (step as f64, level + 1.0 / step as f64)).collect();
    let eval = vec![(0.0, 2.0 * level), (steps as f64, level)];
    (name.to_string(), Losses { raw, eval, ..Losses::default() })
}

#[test]
fn runs_differ_in_color_dash_and_marker_and_are_named_once() {
    let runs: Vec<_> = (0..9).map(|n| run(&format!("run <{n}>"), 0.1 + 0.01 * f64::from(n), 50)).collect();
    let figure = plot::draw(&runs, OPTIONS).unwrap();
    let svg = figure.to_svg().unwrap();
    let words = texts(&svg);
    for n in 0..9 {
        assert_eq!(words.iter().filter(|text| **text == format!("run &lt;{n}&gt;")).count(), 1);
    }
    assert!(words.contains(&"training loss") && words.contains(&"evaluation loss"));
    let [training, evaluation] = &figure.panels[..] else { panic!("{} panels", figure.panels.len()) };
    for (panel, other) in [(training, evaluation), (evaluation, training)] {
        let looks = |n: usize| (panel.curves[n].color, panel.curves[n].dash, panel.curves[n].marks.as_ref().unwrap().0);
        for (a, b) in (0..9).flat_map(|a| (0..a).map(move |b| (a, b))) {
            assert!(looks(a).0 != looks(b).0 || looks(a).1 != looks(b).1, "runs {a} and {b}");
        }
        assert_eq!((looks(0).0, looks(0).2), (other.curves[0].color, other.curves[0].marks.as_ref().unwrap().0));
        assert!(looks(0).1.is_none() && looks(1).1.is_some() && looks(0).2 != looks(1).2);
    }
    // The first and the eighth run share their color; only the eighth is in dashes, each of which
    // is a line.
    assert!(svg.matches("stroke=\"#0072B2\"").count() > 20);
    assert!(svg.starts_with("<svg width=\"3.400in\""), "{}", &svg[..80]);
    let image = figure.to_image().unwrap();
    assert_eq!(image.width, 2040);
    for [r, g, b] in [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167]] {
        assert!(image.pixels.chunks_exact(3).filter(|pixel| **pixel == [r, g, b]).count() > 1000);
    }
}

#[test]
fn one_kind_of_loss_can_be_left_out() {
    let runs = [run("a", 0.1, 20)];
    let words = |losses| {
        let svg = plot::draw(&runs, PlotOptions { losses, ..OPTIONS }).unwrap().to_svg().unwrap();
        texts(&svg).into_iter().map(str::to_string).collect::<Vec<_>>()
    };
    let has = |words: &[String], word: &str| words.iter().any(|other| other == word);
    let (training, evaluation) = (words(LossKind::Training), words(LossKind::Evaluation));
    assert!(has(&training, "training loss") && !has(&training, "evaluation loss"));
    assert!(!has(&evaluation, "training loss") && has(&evaluation, "evaluation loss"));
    assert!(has(&evaluation, "a"), "the legend is missing");
    let none = [("a".to_string(), Losses { eval: vec![], ..runs[0].1.clone() })];
    let error = plot::draw(&none, PlotOptions { losses: LossKind::Evaluation, ..OPTIONS }).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
}

#[test]
fn ticks_are_round_and_places_are_right() {
    assert_eq!(Axis::linear(0.107, 0.154).labels(), ["0.11", "0.12", "0.13", "0.14", "0.15"]);
    assert_eq!(Axis::steps(900.0).labels(), ["0", "200", "400", "600", "800"]);
    assert_eq!(Axis::steps(2.0).labels(), ["0", "1", "2"]);
    assert_eq!(Axis::linear(-1.0, 1.0).labels(), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    assert_eq!(Axis::log(0.001, 1.0).labels(), ["0.001", "0.01", "0.1", "1"]);
    assert_eq!(Axis::log(0.04, 0.6).labels(), ["0.05", "0.1", "0.2", "0.5"]);
    assert_eq!(Axis::log(0.1, 20.0).labels(), ["0.1", "0.3", "1", "3", "10"]);
    // Between two powers of ten and their multiples, even numbers are left.
    assert!((3..=6).contains(&Axis::log(0.121, 0.139).labels().len()));
    let wide = Axis::log(1e-8, 1e8).labels();
    assert!(wide.len() <= 6 && wide[0] == "1e-8", "{wide:?}");
    assert_eq!(Axis::log(0.01, 1.0).map(&0.1, (0, 1000)), 500);
    assert_eq!(Axis::linear(2.0, 6.0).map(&3.0, (0, 1000)), 250);
    assert_eq!((Axis::linear(2.0, 6.0).nearest(9.0), Axis::log(0.1, 1.0).nearest(0.0)), (Some(6.0), None));
}

#[test]
fn a_logarithmic_figure_leaves_out_what_it_cannot_show() {
    let mut runs = [run("a", 0.01, 20)];
    runs[0].1.raw[3].1 = 0.0;
    let look = PlotOptions { log: true, smoothing: Some(1), ..OPTIONS };
    let svg = plot::draw(&runs, look).unwrap().to_svg().unwrap();
    assert!(texts(&svg).contains(&"0.1"), "{:?}", texts(&svg));
    assert_ne!(svg, plot::draw(&runs, PlotOptions { log: false, ..look }).unwrap().to_svg().unwrap());
}

#[test]
fn a_figure_says_its_size_on_paper() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figure.png");
    tunelab::results::write_figure(&path, &image(20, 10, 3), 600.0).unwrap();
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|four| four == b"pHYs").expect("a chunk with the resolution");
    assert_eq!(bytes[at + 4..at + 13], [0, 0, 0x5c, 0x46, 0, 0, 0x5c, 0x46, 1]);
}
