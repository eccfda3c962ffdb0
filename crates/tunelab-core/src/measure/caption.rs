//! A caption as the judge reads it.
//!
//! In: a text. Out: what it says that [`super::judge`] has a question for, and which share of that a picture shows. Read are
//! the judge's own words, in capital or small letters, punctuation apart; no synonym is, nor a plural, and all other words,
//! an identifier such as "sks" among them, say nothing.

use super::judge::{ACTIONS, ANIMALS, Answers, COATS, PLACES, QUESTIONS, SUBJECTS_COAT, TONGUES};

/// The question of the coat.
const COAT: usize = 1;
/// The question of the tongue.
const TONGUE: usize = 4;
/// The answer that [`TONGUES`] has for a tongue that is seen.
const OUT: usize = 1;

/// What a caption says: an answer, as its number, to each question that it says anything of.
///
/// - The animal is the first that is named, so the dog of "a dog and a cat".
/// - The coat is the one that stands before the animal, and of several the last, as captions of the world have it. So a blue
///   collar or a white room is no coat. "black and white" is one coat. Without an animal there is none.
/// - Action and place are the first that are named.
/// - The tongue is asked for only where "tongue out" stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caption {
    said: [Option<usize>; 5],
}

impl Caption {
    /// Reads a caption; `None` where it says nothing that the judge knows.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let animal = first(&words, &ANIMALS);
        let coat = animal.and_then(|(at, _)| last_coat(&words[..at]));
        let [action, place] = [first(&words, &ACTIONS), first(&words, &PLACES)];
        let tongue = words.windows(2).any(|two| two == [QUESTIONS[TONGUE], TONGUES[OUT]]);
        let answer = |found: Option<(usize, usize)>| found.map(|(_, answer)| answer);
        let said = [answer(animal), coat, answer(action), answer(place), tongue.then_some(OUT)];
        said.iter().any(Option::is_some).then_some(Self { said })
    }

    /// What it says, by question.
    pub fn said(&self) -> [Option<usize>; 5] {
        self.said
    }

    /// The share of what is said that a picture shows, given the judge's answers about it. Orange is also the subject's coat,
    /// which is orange and white: its photographs are of an orange dog.
    pub fn share_shown(&self, answers: &Answers) -> f64 {
        let is_shown = |question: usize| {
            let (said, seen) = (self.said[question]?, answers[question]);
            let orange = question == COAT && COATS[said] == "orange" && seen == SUBJECTS_COAT;
            Some(said == seen || orange)
        };
        let asked: Vec<bool> = (0..QUESTIONS.len()).filter_map(is_shown).collect();
        asked.iter().filter(|shown| **shown).count() as f64 / asked.len() as f64
    }
}

/// The first of `words` that is an answer: its place, and the answer's number.
fn first(words: &[&str], answers: &[&str]) -> Option<(usize, usize)> {
    let number = |word: &&str| answers.iter().position(|answer| answer == word);
    words.iter().enumerate().find_map(|(at, word)| Some((at, number(word)?)))
}

/// The last coat in `words`, where the longest that begins at a word is meant.
fn last_coat(mut words: &[&str]) -> Option<usize> {
    let mut last = None;
    while !words.is_empty() {
        let begins = |coat: &str| coat.split(' ').eq(words.iter().copied().take(coat.split(' ').count()));
        let here = COATS.iter().enumerate().filter(|(_, coat)| begins(coat)).max_by_key(|(_, coat)| coat.len());
        last = here.map(|(number, _)| number).or(last);
        words = &words[here.map_or(1, |(_, coat)| coat.split(' ').count())..];
    }
    last
}
