//! Curves of several runs over each other, and the axes and shapes that all figures are made of.

use super::*;
use tunelab::report::axis::Axis;
use tunelab::report::drawing::{Drawing, Shape};
use tunelab::report::plot::{self, Look, Which};

const LOOK: Look = Look { which: Which::Both, log: false, smoothing: None };

fn run(name: &str, level: f64, steps: usize) -> (String, Losses) {
    let raw = (1..=steps).map(|step| (step as f64, level + 1.0 / step as f64)).collect();
    let eval = vec![(0.0, 2.0 * level), (steps as f64, level)];
    (name.to_string(), Losses { raw, eval, ..Losses::default() })
}

fn lines(drawing: &Drawing, colour: [u8; 3]) -> Vec<&Shape> {
    drawing.shapes.iter().filter(|shape| matches!(shape, Shape::Line { colour: c, .. } if *c == colour)).collect()
}

#[test]
fn runs_differ_in_colour_dash_and_marker_and_are_named_once() {
    let runs: Vec<_> = (0..9).map(|n| run(&format!("run <{n}>"), 0.1 + 0.01 * f64::from(n), 50)).collect();
    let drawing = plot::draw(&runs, LOOK).unwrap();
    let svg = drawing.to_svg();
    for n in 0..9 {
        assert_eq!(svg.matches(&format!(">run &lt;{n}&gt;<")).count(), 1);
    }
    assert!(svg.contains(">training loss<") && svg.contains(">evaluation loss<"));
    // Legend, training, evaluation; the first and the eighth run share a colour, and differ in their dash.
    let blue = lines(&drawing, [0, 114, 178]);
    assert_eq!(blue.len(), 6);
    let Shape::Line { dash: first, .. } = blue[0] else { panic!() };
    assert!(blue.iter().any(|line| matches!(line, Shape::Line { dash, .. } if dash != first)));
    assert!((drawing.width / 72.0 - 3.4).abs() < 1e-9);
}

#[test]
fn one_kind_of_loss_can_be_left_out() {
    let runs = [run("a", 0.1, 20)];
    let words = |which| plot::draw(&runs, Look { which, ..LOOK }).unwrap().to_svg();
    let (training, evaluation) = (words(Which::Training), words(Which::Evaluation));
    assert!(training.contains(">training loss<") && !training.contains(">evaluation loss<"));
    assert!(!evaluation.contains(">training loss<") && evaluation.contains(">evaluation loss<"));
    assert!(evaluation.contains(">a<"), "the legend is missing");
    let none = [("a".to_string(), Losses { eval: vec![], ..runs[0].1.clone() })];
    let error = plot::draw(&none, Look { which: Which::Evaluation, ..LOOK }).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
}

#[test]
fn ticks_are_round_and_places_are_right() {
    let words = |axis: Axis, most| axis.ticks(most).into_iter().map(|tick| tick.1).collect::<Vec<_>>();
    assert_eq!(words(Axis::linear(0.107, 0.154), 5), ["0.11", "0.12", "0.13", "0.14", "0.15"]);
    assert_eq!(words(Axis::linear(0.0, 900.0), 6), ["0", "200", "400", "600", "800"]);
    assert_eq!(words(Axis::linear(-1.0, 1.0), 4), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    assert_eq!(words(Axis::log(0.001, 1.0), 5), ["0.001", "0.01", "0.1", "1"]);
    assert_eq!(words(Axis::log(0.04, 0.6), 5), ["0.05", "0.1", "0.2", "0.5"]);
    assert_eq!(words(Axis::log(1e-8, 1e8), 5).first().map(String::as_str), Some("1e-8"));
    assert!((Axis::log(0.01, 1.0).at(0.1) - 0.5).abs() < 1e-12);
    assert!((Axis::linear(2.0, 6.0).at(3.0) - 0.25).abs() < 1e-12);
    assert!(Axis::linear(2.0, 6.0).at(9.0) >= 1.0 && !Axis::log(0.1, 1.0).can_show(0.0));
}

#[test]
fn shapes_cover_the_right_pixels() {
    let line =
        |dash: Vec<f64>| Shape::Line { points: vec![(10.0, 20.0), (50.0, 20.0)], width: 4.0, colour: [0; 3], dash };
    let draw = |shape: Shape| Drawing { width: 60.0, height: 40.0, shapes: vec![shape] }.to_picture(72.0).unwrap();
    let solid = draw(line(vec![]));
    assert_eq!(dark_pixels(&solid, 10..50, 18..22), 160);
    assert_eq!(dark_pixels(&solid, 0..60, 0..17) + dark_pixels(&solid, 0..60, 23..40), 0);
    let dashed = draw(line(vec![4.0, 12.0]));
    assert_eq!(pixel(&dashed, 18, 20), [255; 3]);
    assert_eq!(pixel(&dashed, 28, 20), [0; 3]);
    let square = vec![(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0)];
    let square = draw(Shape::Polygon { points: square, colour: [0; 3] });
    assert_eq!((dark_pixels(&square, 0..60, 0..40), pixel(&square, 9, 20)), (400, [255; 3]));
    // Half a point is half a pixel's grey.
    let thin = draw(Shape::Line { points: vec![(10.0, 20.5), (50.0, 20.5)], width: 0.5, colour: [0; 3], dash: vec![] });
    assert!((60..200).contains(&pixel(&thin, 30, 20)[0]), "{:?}", pixel(&thin, 30, 20));
}

#[test]
fn a_figure_says_its_size_on_paper() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figure.png");
    tunelab::results::write_figure(&path, &picture(20, 10, 3), 600.0).unwrap();
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|four| four == b"pHYs").expect("a chunk with the resolution");
    assert_eq!(bytes[at + 4..at + 13], [0, 0, 0x5c, 0x46, 0, 0, 0x5c, 0x46, 1]);
}
